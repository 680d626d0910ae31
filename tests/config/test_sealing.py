"""Sealing, rotation, keyed hashes and the key file."""

import pickle
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.config.sealing import (
    KEY_FILE_NAME,
    CannotUnseal,
    Sealer,
    keyed_hash,
    load_or_create_keys,
    new_key,
    new_lookup_key,
    store_keys,
)

OLD, NEW, OTHER = new_key(), new_key(), new_key()


@given(st.binary(max_size=4096))
def test_what_is_sealed_can_be_opened_and_is_not_in_the_token(plain: bytes):
    sealer = Sealer([NEW, OLD])
    token = sealer.seal(plain)
    assert sealer.unseal(token) == plain
    assert len(plain) < 8 or plain not in token
    assert sealer.seal(plain) != token


def test_a_rotation_keeps_old_values_open_until_they_are_resealed():
    token = Sealer([OLD]).seal(b"a vendor's key")
    both = Sealer([NEW, OLD])
    assert both.unseal(token) == b"a vendor's key"
    with pytest.raises(CannotUnseal):
        Sealer([NEW]).unseal(token)
    assert Sealer([NEW]).unseal(both.reseal(token)) == b"a vendor's key"
    with pytest.raises(CannotUnseal):
        Sealer([OLD]).unseal(both.seal(b"sealed by the newest"))


@pytest.mark.parametrize("token", [b"", b"not a token", b"gAAAAA" + b"A" * 100])
def test_what_no_key_opens_says_so(token: bytes):
    for attempt in (Sealer([OTHER]).unseal, Sealer([OTHER]).reseal):
        with pytest.raises(CannotUnseal) as caught:
            attempt(token)
        assert caught.value.code == "cannot_unseal"


def test_a_changed_token_does_not_open():
    token = bytearray(Sealer([NEW]).seal(b"text"))
    token[20] = ord("A") if token[20] != ord("A") else ord("B")
    with pytest.raises(CannotUnseal):
        Sealer([NEW]).unseal(bytes(token))


def test_a_sealer_shows_no_key_and_stays_in_its_process():
    sealer = Sealer([NEW, OLD])
    assert repr(sealer) == "Sealer(2 keys)"
    with pytest.raises(TypeError):
        pickle.dumps(sealer)
    with pytest.raises(ValueError, match="at least one"):
        Sealer([])


def test_keyed_hashes_differ_by_key_purpose_and_text_and_by_nothing_else():
    key = new_lookup_key()
    base = keyed_hash(key, "link-token", "abc")
    assert len(base) == 32
    assert base == keyed_hash(bytes(key), "link-token", "abc")
    assert base not in {
        keyed_hash(key, "link-token", "abd"),
        keyed_hash(key, "session", "abc"),
        keyed_hash(new_lookup_key(), "link-token", "abc"),
    }
    with pytest.raises(ValueError, match="too short"):
        keyed_hash(b"short", "link-token", "abc")


def test_keyed_hashes_stay_the_same_from_version_to_version():
    # Rows hold these hashes: another result would lose every look-up.
    assert keyed_hash(bytes(range(32)), "link-token", "abc").hex() == KNOWN_HASH


KNOWN_HASH = "174c695a7bd020d8ce5d3fd7f6fb4e054e305e65f25463a272dc90b2d0a7b27b"


def test_keys_are_made_once_and_are_private(tmp_path: Path):
    folder = tmp_path / "data"
    first = load_or_create_keys(folder)
    assert load_or_create_keys(folder) == first
    assert len(first) == 1
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / KEY_FILE_NAME).stat().st_mode) == 0o600
    assert [path.name for path in folder.iterdir()] == [KEY_FILE_NAME]


def test_a_rotated_file_keeps_its_order_and_its_privacy(tmp_path: Path):
    first = load_or_create_keys(tmp_path)
    store_keys(tmp_path, [NEW, *first])
    assert load_or_create_keys(tmp_path) == [NEW, *first]
    assert stat.S_IMODE((tmp_path / KEY_FILE_NAME).stat().st_mode) == 0o600


@pytest.mark.parametrize("text", ["", "\n", "nonsense\n"])
def test_a_key_file_without_a_key_is_refused_not_replaced(tmp_path: Path, text: str):
    (tmp_path / KEY_FILE_NAME).write_text(text)
    with pytest.raises(ValueError, match="key") as caught:
        load_or_create_keys(tmp_path)
    assert "nonsense" not in str(caught.value)
    assert (tmp_path / KEY_FILE_NAME).read_text() == text


def test_processes_that_start_together_agree_on_one_key(tmp_path: Path):
    program = (
        "import sys; from pathlib import Path; from app.config.sealing import load_or_create_keys\n"
        "sys.stdin.readline(); print(load_or_create_keys(Path(sys.argv[1]))[0].get_secret_value())"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path / "data")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        for _ in range(4)
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    outputs = [process.communicate()[0] for process in started]
    assert len(set(outputs)) == 1
    assert outputs[0].strip() == load_or_create_keys(tmp_path / "data")[0].get_secret_value()
