"""Seals secrets at rest and makes keyed hashes; must not know where keys or sealed values are stored.

Two kinds of key, because they age differently:

* *Sealing keys* (`SONOBRIDGE_SECRET_KEYS`, newest first) encrypt. They are rotated: the newest seals, all of them
  open, `reseal` moves a value to the newest, then the oldest can be taken out of the list.
* The *look-up key* makes keyed hashes (find a link by its token, a de-identified exam by its id) and is never
  rotated: a hash cannot be made anew without the text it came from, so deriving it from a sealing key would lose
  every look-up at the first rotation. It is random, made once per installation, and kept *sealed* in the database
  by the caller (`new_lookup_key`, `Sealer.seal`); a rotation re-seals it like any other secret.
"""

import hmac
import os
import secrets
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import SecretStr

from app.errors import Blame, SonobridgeError

LOOKUP_KEY_BYTES = 32
KEY_FILE_NAME = "secret-keys"


class CannotUnseal(SonobridgeError):
    """None of the sealing keys opens a value: the key is missing, or the value was changed.

    It is about whatever the value belongs to (`blame`), an exam unless somebody says otherwise; for an account's
    credentials `account` names the account.
    """

    kind = "cannot_unseal"

    def __init__(self, message: str, *, blame: Blame = Blame.EXAM, account: str | None = None) -> None:
        super().__init__(message)
        self.blame = blame
        self.account = account


class Sealer:
    """Encrypts with the newest key, opens with any. Shows no key in its repr and cannot be pickled by accident."""

    __slots__ = ("_count", "_fernet")

    def __init__(self, keys: Sequence[SecretStr]) -> None:
        if not keys:
            raise ValueError("at least one sealing key is needed")
        self._fernet = MultiFernet([Fernet(key.get_secret_value()) for key in keys])
        self._count = len(keys)

    def __repr__(self) -> str:
        return f"Sealer({self._count} keys)"

    def __reduce__(self) -> str:
        raise TypeError("a Sealer holds keys and does not leave the process")

    def seal(self, plain: bytes) -> bytes:
        """An authenticated, encrypted token of `plain`; never the same twice."""
        return self._fernet.encrypt(plain)

    def unseal(self, token: bytes) -> bytes:
        """What was sealed. Raises CannotUnseal."""
        try:
            return self._fernet.decrypt(token)
        except (InvalidToken, TypeError):
            raise CannotUnseal("no sealing key opens this value") from None

    def reseal(self, token: bytes) -> bytes:
        """The same content sealed with the newest key. Raises CannotUnseal."""
        try:
            return self._fernet.rotate(token)
        except (InvalidToken, TypeError):
            raise CannotUnseal("no sealing key opens this value") from None


def new_key() -> SecretStr:
    """A fresh sealing key, as SONOBRIDGE_SECRET_KEYS takes it."""
    return SecretStr(Fernet.generate_key().decode())


def new_lookup_key() -> bytes:
    """A fresh look-up key (32 random bytes). Made once per installation; keep it sealed."""
    return secrets.token_bytes(LOOKUP_KEY_BYTES)


def keyed_hash(key: bytes, purpose: str, text: str) -> bytes:
    """HMAC-SHA256 of `text` (32 bytes) under a key derived by HKDF for one purpose.

    Hashes of the same text for two purposes are unrelated, so tables cannot be joined on them.
    """
    return hmac.digest(_derived(key, purpose), text.encode(), "sha256")


@lru_cache(maxsize=16)
def _derived(key: bytes, purpose: str) -> bytes:
    if len(key) < LOOKUP_KEY_BYTES:
        raise ValueError("the look-up key is too short")
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"sonobridge/" + purpose.encode()).derive(key)


def load_or_create_keys(data_dir: Path) -> list[SecretStr]:
    """The sealing keys of the data folder, newest first; made on first use (file 0600, a new folder 0700).

    Two processes that start together end up with the same key: the file appears whole or not at all, and the
    first to link it in place wins. Raises OSError (folder not writable), ValueError (file holds no key).
    """
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = data_dir / KEY_FILE_NAME
    if not path.exists():
        _create_once(path, f"{new_key().get_secret_value()}\n")
    keys = [SecretStr(line.strip()) for line in path.read_text(encoding="ascii").splitlines() if line.strip()]
    if not keys:
        raise ValueError(f"{path} holds no key")
    for position, key in enumerate(keys, start=1):
        try:
            Fernet(key.get_secret_value())
        except ValueError:
            raise ValueError(f"{path}: line {position} is not a sealing key") from None
    return keys


def store_keys(data_dir: Path, keys: Sequence[SecretStr]) -> None:
    """Replaces the data folder's keys (newest first) in one step; for `keys rotate` where keys are generated."""
    path = data_dir / KEY_FILE_NAME
    draft = _draft(path, "".join(f"{key.get_secret_value()}\n" for key in keys))
    draft.replace(path)


def _create_once(path: Path, text: str) -> None:
    draft = _draft(path, text)
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        return  # another process was first; its key is the one
    finally:
        draft.unlink()


def _draft(path: Path, text: str) -> Path:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return draft
