"""A peer that is not installed is one clear skip, or a failure where peers are required."""

import pytest

from tests.support.peers import require_program


def test_absent_peers_are_skipped_with_a_line(monkeypatch):
    monkeypatch.delenv("SONOBRIDGE_REQUIRE_PEERS", raising=False)
    with pytest.raises(
        pytest.skip.Exception, match=r"no-such-peer is not installed \(tests/support/peers/install"
    ):
        require_program("no-such-peer")


def test_absent_peers_fail_where_they_are_required(monkeypatch):
    monkeypatch.setenv("SONOBRIDGE_REQUIRE_PEERS", "1")
    with pytest.raises(pytest.fail.Exception, match="no-such-peer is not installed"):
        require_program("no-such-peer")


def test_present_programs_are_found():
    assert require_program("sh").endswith("/sh")
