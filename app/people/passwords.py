"""Hashes and checks passwords by Argon2id, off the event loop; must not know users, requests or throttles."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from app.errors import Misuse

LEAST_CHARACTERS = 12
MOST_CHARACTERS = 256
THREADS = 2
COMMON_PASSWORDS = Path(__file__).with_name("common_passwords.txt")

# RFC 9106's second recommendation (64 MiB), argon2-cffi's default; a hash names its own parameters.
HASHER = PasswordHasher()
# The limit on hashing at one time: each takes 64 MiB. Threads start when the first password comes.
POOL = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="argon2")


@cache
def common_passwords() -> frozenset[str]:
    """The list, in lower case."""
    lines = COMMON_PASSWORDS.read_text(encoding="utf-8").splitlines()
    return frozenset(line.strip().lower() for line in lines if line.strip() and not line.startswith("#"))


@cache
def hash_of_nobody() -> str:
    """What is checked for an unknown user, so that a guess at a name takes as long as one at a password."""
    return HASHER.hash("nobody's password")


def check_new_password(password: str, *, email: str) -> None:
    """Raise Misuse, with a line for the person, when a password is too easy to guess."""
    if len(password) < LEAST_CHARACTERS:
        raise Misuse(
            f"The password is too short: use {LEAST_CHARACTERS} characters or more.", code="weak_password"
        )
    if len(password) > MOST_CHARACTERS:
        raise Misuse(
            f"The password is too long: use at most {MOST_CHARACTERS} characters.", code="weak_password"
        )
    plain = password.lower()
    if plain in common_passwords() or len(set(plain)) < 5:
        raise Misuse(
            "This password is one of the first that are guessed: choose another.", code="weak_password"
        )
    name = email.partition("@")[0].lower()
    if plain == email.lower() or (len(name) >= 4 and plain.replace(name, "").strip("0123456789!.-_ ") == ""):
        raise Misuse("This password is made of the e-mail address: choose another.", code="weak_password")


async def hash_password(password: str) -> str:
    """An Argon2id hash in its usual text form."""
    return await asyncio.get_running_loop().run_in_executor(POOL, HASHER.hash, password)


async def verify_password(password_hash: str | None, password: str) -> bool:
    """Whether the password is right. No hash (unknown user, no password set) takes as long and is never right."""
    return await asyncio.get_running_loop().run_in_executor(POOL, _verify, password_hash, password)


def _verify(password_hash: str | None, password: str) -> bool:
    try:
        HASHER.verify(password_hash or hash_of_nobody(), password[: MOST_CHARACTERS + 1])
    except (VerificationError, InvalidHashError):
        return False
    return password_hash is not None
