"""The tests' own tools: a wait that cannot pass by accident or fail without a word."""

import pytest

from tests.support.ports import free_port
from tests.support.wait import NeverHappenedError, until, until_sync


async def test_until_returns_the_answer_of_a_plain_or_an_async_condition():
    answers = iter([0, "", None, "yes"])
    assert await until(lambda: next(answers)) == "yes"

    async def asynchronous() -> int:
        return 7

    assert await until(asynchronous) == 7


async def test_until_takes_a_failed_assert_for_not_yet():
    seen: list[int] = []

    def condition() -> bool:
        seen.append(1)
        assert len(seen) > 3
        return True

    assert await until(condition)
    assert len(seen) == 4


async def test_until_says_what_it_waited_for_and_what_it_last_saw():
    with pytest.raises(
        NeverHappenedError, match=r"the moon did not come true in 0.05 s; last: \[\]"
    ) as caught:
        await until(list, timeout=0.05, what="the moon")
    assert isinstance(caught.value, AssertionError)


def refuse() -> bool:
    return False


async def test_until_lets_other_errors_through():
    def condition() -> bool:
        raise KeyError("a mistake in the test")

    with pytest.raises(KeyError):
        await until(condition, timeout=5)


def test_until_without_a_loop():
    answers = iter([0, 3])
    assert until_sync(lambda: next(answers)) == 3
    with pytest.raises(NeverHappenedError, match="refuse"):
        until_sync(refuse, timeout=0.05)


def test_a_free_port_is_above_the_reserved_ones():
    assert 1024 < free_port() < 65536
