"""What a person sees while the bots run: a bar on a terminal, a line now and then in a log file. Nothing when nobody waits."""

from time import monotonic
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from tools.bots.fleet import Fleet, Plan

LINE_S = 5.0  # between two lines of a log


class Progress:
    """Shows a fleet's progress; `show` is called twice a second from the fleet's own loop, so it is kept short."""

    def __init__(self, plan: Plan, console: Console) -> None:
        self._plan = plan
        self._console = console
        self._next_line_s = 0.0
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f} players"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            auto_refresh=False,  # a thread of its own would disturb the measurement
            transient=True,
        )
        self._task = self._bar.add_task("bots", total=plan.count, note="")
        self._on_terminal = console.is_terminal and not plan.resident

    def __enter__(self) -> Self:
        if self._on_terminal:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._on_terminal:
            self._bar.stop()

    def show(self, fleet: Fleet) -> None:
        """Say how it goes."""
        if self._plan.resident:
            return
        errors, lost = fleet.tally.errors.total(), fleet.tally.lost
        note = (
            fleet.phase + (f", {errors} errors" if errors else "") + (f", {lost} lines lost" if lost else "")
        )
        if self._on_terminal:
            self._bar.update(self._task, completed=fleet.players, note=note, refresh=True)
        elif monotonic() >= self._next_line_s:
            self._next_line_s = monotonic() + LINE_S
            self._console.print(f"bots: {fleet.players}/{self._plan.count} players, {note}", highlight=False)
