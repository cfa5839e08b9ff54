"""Work that goes on beside the tick is watched: what dies takes the server down, with a word, and is never just missing."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

Broken = Callable[[str, BaseException], None]  # the name of what broke, and of what


def supervise(task: "asyncio.Task[Any]", on_broken: Broken) -> None:
    """Calls `on_broken` if the task ends with an error. To be cancelled, or to come to its end, is no error."""

    def ended(task: "asyncio.Task[Any]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            on_broken(task.get_name(), error)

    task.add_done_callback(ended)


async def end(*tasks: "asyncio.Task[Any]") -> None:
    """Cancels them and waits for their ends. Raises what one of them had died of."""
    for task in tasks:
        task.cancel()
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError):
            await task
