"""Reads secrets from standard input or the environment; never from an argument, which other users of a host can see."""

import getpass
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from app.errors import Misuse


@dataclass(frozen=True)
class SecretSource:
    """A secret that a command may be given: what it is called, its environment variable, and whether stdin holds it."""

    name: str
    variable: str
    on_stdin: bool


def read_secrets(sources: Sequence[SecretSource]) -> dict[str, str]:
    """The secrets that were given, by name. Several on standard input are one per line, in the order of `sources`.

    At a terminal each is asked for without showing it. Raises Misuse when a promised line is missing or empty.
    """
    secrets: dict[str, str] = {}
    for secret in sources:
        if secret.on_stdin:
            secrets[secret.name] = _next_line(secret.name)
        elif os.environ.get(secret.variable):
            secrets[secret.name] = os.environ[secret.variable]
    return secrets


def read_secret(secret: SecretSource) -> str:
    """One secret that must be given. Raises Misuse saying how."""
    secrets = read_secrets([secret])
    if secret.name not in secrets:
        option = secret.name.replace("_", "-")
        raise Misuse(f"{secret.name}: give it on standard input (--{option}-stdin) or in {secret.variable}")
    return secrets[secret.name]


def _next_line(name: str) -> str:
    label = name.replace("_", " ")
    line = getpass.getpass(f"{label}: ") if sys.stdin.isatty() else sys.stdin.readline()
    line = line.rstrip("\r\n")
    if not line:
        raise Misuse(f"{name}: standard input holds no line for it")
    return line
