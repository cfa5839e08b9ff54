"""When the collector runs, and when it does not."""

import gc
from collections.abc import Iterator

import pytest

from server.garbage import FULL_TICKS, OVERDUE, YOUNG_MAX, Garbage


@pytest.fixture
def garbage() -> Iterator[Garbage]:
    held = Garbage()
    held.hold(0)
    yield held
    gc.enable()
    gc.unfreeze()


@pytest.mark.parametrize(
    ("tick", "share", "young", "collected"),
    [
        (1, 0.1, 10, None),
        (1, 0.1, YOUNG_MAX + 1, 1),
        (1, 0.9, YOUNG_MAX + 1, None),
        (1, 0.9, YOUNG_MAX * OVERDUE + 1, 1),
        (FULL_TICKS, 0.1, 10, 2),
        (FULL_TICKS, 0.9, 10, None),
        (2 * FULL_TICKS, 0.9, 10, 2),
    ],
)
def test_collections_come_after_quiet_ticks(
    garbage: Garbage,
    monkeypatch: pytest.MonkeyPatch,
    tick: int,
    share: float,
    young: int,
    collected: int | None,
) -> None:
    runs: list[int] = []
    monkeypatch.setattr(gc, "get_count", lambda: (young, 0, 0))
    monkeypatch.setattr(gc, "collect", lambda generation=2: runs.append(generation))
    garbage.after(tick, share)
    assert runs == ([] if collected is None else [collected])


def test_what_was_there_is_frozen_and_nothing_runs_by_itself(garbage: Garbage) -> None:
    assert not gc.isenabled()
    assert gc.get_freeze_count() > 0
