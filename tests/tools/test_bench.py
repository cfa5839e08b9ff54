"""The benches: their arithmetic, and that each runs to its end. No figure is judged here: the machine may be busy."""

import json
import math
import shutil

import pytest

from tools.bench import crowd, grid
from tools.bench.floor import measure_floor
from tools.bench.live import Sample, histogram_percentile


def histogram(*counts: int) -> Sample:
    """A server's histogram with edges at 1, 2 and 4 s and beyond; the counts are cumulative."""
    edges = ("0.001", "0.002", "0.004", "+Inf")
    return Sample(
        0, 0, 0, {f"t_bucket{{le={edge}}}": count for edge, count in zip(edges, counts, strict=True)}
    )


@pytest.mark.parametrize(
    ("before", "after", "share", "expected"),
    [
        ((0, 0, 0, 0), (0, 10, 10, 10), 0.5, 0.0015),  # the middle of its bucket
        ((0, 0, 0, 0), (10, 10, 20, 20), 1.0, 0.004),
        ((5, 5, 5, 5), (5, 5, 15, 15), 0.1, 0.0022),  # what was counted before does not matter
        ((0, 0, 0, 0), (0, 0, 0, 10), 0.5, 0.004),  # beyond the last edge: no less than that
        ((7, 7, 7, 7), (7, 7, 7, 7), 0.5, None),
    ],
)
def test_percentiles_of_a_histogram(
    before: tuple[int, ...], after: tuple[int, ...], share: float, expected: float | None
) -> None:
    assert histogram_percentile(histogram(*before), histogram(*after), "t", share) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("value", "met"), [(None, False), (29.9, False), (30, True), (42, True), (42.1, False), (math.nan, False)]
)
def test_a_promise_is_kept_between_its_ends(value: float | None, met: bool) -> None:
    assert crowd.Target("in sight", "in_sight_mean", least=30, most=42).met(value) is met


def test_more_players_get_more_land() -> None:
    radii = [crowd.spawn_radius(players, seed=1) for players in (20, 200, 800)]
    assert radii == sorted(set(radii))


def test_grid_and_tree_find_the_same_sets() -> None:
    found = grid.measure(players=500, seed=3)
    assert found["equal"]
    assert found["speedup_ratio"] > 0


@pytest.mark.parametrize("compiler", [True, False])
def test_the_floor_sends_to_everybody(compiler: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if compiler and not any(map(shutil.which, ("cc", "gcc", "clang"))):
        pytest.skip("no C compiler on this machine; the Python floor is tested")
    if not compiler:
        which = shutil.which
        monkeypatch.setattr(shutil, "which", lambda name: which(name) if name == "taskset" else None)
    floor = measure_floor(connections=20, hz=20, seconds=1, sizes=[100, 500])
    assert floor.kind == ("C" if compiler else "Python")
    assert floor.sent == 400
    assert floor.cpu_us > 0


def test_a_small_crowd_is_measured_from_start_to_end() -> None:
    result, found = crowd.measure(players=20, seconds=2, ramp_per_s=100, seed=1)
    assert result.passed, found["errors_by_reason"]
    assert found["players_held"] == 20
    assert json.loads(json.dumps(found)) == found
    missing = [key for key, value in found.items() if value is None]
    assert not missing
    assert {target.key for target in crowd.targets(20)} <= found.keys()
