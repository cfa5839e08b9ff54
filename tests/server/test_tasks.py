"""Work beside the tick: an error is told, with its name; an end and a cancellation are none."""

import asyncio

from server.tasks import supervise


async def test_a_task_that_dies_is_told_of_by_its_name() -> None:
    told: list[tuple[str, BaseException]] = []
    error = ValueError("broken")

    async def work() -> None:
        raise error

    task = asyncio.create_task(work(), name="digging")
    supervise(task, lambda name, cause: told.append((name, cause)))
    await asyncio.wait({task})
    assert told == [("digging", error)]


async def test_an_end_and_a_cancellation_are_no_errors() -> None:
    told: list[str] = []
    done = asyncio.create_task(asyncio.Event().wait())
    ended = asyncio.create_task(asyncio.sleep(0))
    for task in (done, ended):
        supervise(task, lambda name, _: told.append(name))
    done.cancel()
    await asyncio.wait({done, ended})
    assert told == []
