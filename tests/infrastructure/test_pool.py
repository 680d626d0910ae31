"""The pool's work ends when nobody wants it any more, when its time is over and with the worker; parties take turns."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from app.infrastructure.pool import Pool, PoolClosed, ProcessDied, TookTooLong
from tests.support import pool_work
from tests.support.wait import until, until_sync

ENDLESS = [pool_work.begin_and_never_end, pool_work.reckon_and_never_end]


def alive(process: int) -> bool:
    """Whether a process runs; one that only waits to be counted among the dead does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def begun(note: Path) -> int:
    return int(await until(lambda: note.exists() and note.read_text(), timeout=60))


@pytest.fixture
async def pool():
    opened = Pool(2)
    yield opened
    await opened.aclose()


async def test_what_work_answers_and_raises_arrives(pool):
    assert await pool.run(pool_work.add, 2, other=3) == 5
    with pytest.raises(ValueError, match="as it should"):
        await pool.run(pool_work.fail)
    with pytest.raises(TimeoutError, match="of its own"):
        await pool.run(pool_work.end_late, seconds=600)


async def test_a_process_is_kept_for_the_next_work(pool):
    first = await pool.run(pool_work.who)
    with pytest.raises(ValueError, match="as it should"):
        await pool.run(pool_work.fail)
    assert await pool.run(pool_work.who) == first


@pytest.mark.parametrize("endless", ENDLESS)
async def test_cancelled_work_ends_with_its_process(pool, tmp_path, endless):
    task = asyncio.create_task(pool.run(endless, tmp_path / "note"))
    process = await begun(tmp_path / "note")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not alive(process), "by then it is gone"
    assert await pool.run(pool_work.add, 1, 1) == 2


@pytest.mark.parametrize("endless", ENDLESS)
async def test_work_that_takes_too_long_ends_with_its_process(pool, tmp_path, endless):
    process = await pool.run(pool_work.who)
    with pytest.raises(TookTooLong):
        await pool.run(endless, tmp_path / "note", seconds=0.5)
    assert not alive(process)
    assert await pool.run(pool_work.who) != process


async def test_the_workers_stop_ends_what_is_under_way_and_says_nothing_of_the_work(tmp_path):
    pool = Pool(2)
    task = asyncio.create_task(pool.run(pool_work.begin_and_never_end, tmp_path / "note"))
    process = await begun(tmp_path / "note")
    await pool.aclose()
    with pytest.raises(PoolClosed):
        await task
    assert not alive(process)
    with pytest.raises(PoolClosed):
        await pool.run(pool_work.add, 1, 1)


def test_a_worker_that_is_killed_leaves_no_process_behind(tmp_path):
    note = tmp_path / "note"
    program = (
        "import asyncio, pathlib, sys\nfrom app.infrastructure.pool import Pool\nfrom tests.support import pool_work\n"
        "if __name__ == '__main__':\n"
        "    asyncio.run(Pool(2).run(pool_work.begin_and_never_end, pathlib.Path(sys.argv[1])))\n"
    )
    script = tmp_path / "worker.py"
    script.write_text(program)
    here = str(Path(__file__).parents[2])
    with subprocess.Popen(
        [sys.executable, str(script), str(note)], env={**os.environ, "PYTHONPATH": here}
    ) as worker:
        until_sync(note.exists, timeout=60)
        process = int(note.read_text())
        worker.send_signal(signal.SIGKILL)
    until_sync(lambda: not alive(process))


async def test_work_that_was_lost_with_its_process_is_done_once_more(pool, tmp_path):
    assert await pool.run(pool_work.die_once, tmp_path / "note") == "dead"
    with pytest.raises(ProcessDied, match="die"):
        await pool.run(pool_work.die)
    assert await pool.run(pool_work.add, 1, 1) == 2


async def test_one_partys_endless_work_never_takes_the_last_place(pool, tmp_path):
    notes = [tmp_path / str(number) for number in range(3)]
    endless = [
        asyncio.create_task(pool.run(pool_work.begin_and_never_end, note, turn="one")) for note in notes
    ]
    await begun(notes[0])
    assert [await pool.run(pool_work.add, 1, number, turn="other") for number in range(3)] == [1, 2, 3]
    assert not notes[1].exists()
    for task in endless:
        task.cancel()
    await asyncio.gather(*endless, return_exceptions=True)
    assert await pool.run(pool_work.add, 1, 1, turn="one") == 2


async def test_parties_take_turns_whatever_number_of_works_one_has(tmp_path):
    pool = Pool(1)
    done: list[str] = []

    async def work(turn: str) -> None:
        await pool.run(pool_work.add, 1, 1, turn=turn)
        done.append(turn)

    await asyncio.gather(*(work(turn) for turn in ["many"] * 6 + ["few"] * 2 + ["one"]))
    await pool.aclose()
    assert done == ["many", "few", "one", "many", "few", "many", "many", "many", "many"]


async def test_whoever_leaves_the_line_takes_no_place_along(pool, tmp_path):
    under_way = asyncio.create_task(pool.run(pool_work.begin_and_never_end, tmp_path / "note", turn="one"))
    await begun(tmp_path / "note")
    waiting = [asyncio.create_task(pool.run(pool_work.add, 1, 1, turn="one")) for _ in range(3)]
    await asyncio.gather(*(pool.run(pool_work.add, 1, 1, turn="other") for _ in range(2)))
    for task in waiting[:2]:
        task.cancel()
    await asyncio.gather(*waiting[:2], return_exceptions=True)
    under_way.cancel()
    assert await waiting[2] == 2
    await asyncio.gather(under_way, return_exceptions=True)
