"""The benches: their arithmetic, and that each runs to its end. No figure is judged here: the machine may be busy."""

import json
import math
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tools.bench import crowd, grid, simulation
from tools.bench.floor import Floor, measure_floor
from tools.bench.floor import figures as floor_figures
from tools.bench.held import HELD, ROUND_TO, Search, Target, Try, most_held, resolution, why_not
from tools.bench.live import (
    GATEWAY,
    BenchError,
    LiveServer,
    Sample,
    ServerProcess,
    histogram_percentile,
    on_load_core,
)
from tools.bench.trial import Measured
from tools.bots.report import Run, Tally


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
    assert Target("in sight", "in_sight_mean", least=30, most=42).met(value) is met


@pytest.mark.parametrize(
    ("server", "clients", "expected"),
    [(0, {"0": 3.0}, 0), (2, {"0": 3.0}, 2), (0, {"0": 3.0, "4": 1.0, "5": 0.0}, 4), (1, {}, 1)],
)
def test_the_ladder_counts_for_the_server_and_for_any_client(
    server: int, clients: dict[str, float], expected: int
) -> None:
    labelled = {f"{crowd.VIEWERS}{ {'step': step} }": count for step, count in clients.items()}
    assert crowd.ladder_step(Sample(0, 0, 0, {crowd.STEP: server, **labelled})) == expected


def test_more_players_get_more_land_and_more_in_sight_less() -> None:
    radii = [crowd.spawn_radius(players, seed=1) for players in (20, 200, 800)]
    assert radii == sorted(set(radii))
    assert crowd.spawn_radius(800, 1, in_sight=72) < radii[-1] < crowd.spawn_radius(800, 1, view_cells=2)
    assert crowd.spawn_radius(800, 1, in_sight=799) == crowd.RADIUS_STEP_TILES


def test_grid_and_tree_find_the_same_sets() -> None:
    found = grid.measure(players=500, seed=3)
    assert found["equal"]
    assert found["speedup_ratio"] > 0


@pytest.mark.alone
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


def test_the_floor_says_what_a_whole_core_would_carry() -> None:
    found = floor_figures(Floor("C", cpu_us=1_000_000, sent=200_000, not_sent=3), players=1000)
    assert (found["cpu_us_per_message"], found["clients_per_core"], found["cpu_share"]) == (5.0, 10_000, 0.1)


@pytest.mark.alone
def test_a_small_crowd_is_measured_from_start_to_end() -> None:
    setting = crowd.Setting(seconds=5, ramp_per_s=100, in_sight=10)
    measured = crowd.measure(20, setting)
    found = measured.figures
    assert measured.run.passed, found["errors_by_reason"]
    assert found["players_held"] == 20
    assert json.loads(json.dumps(found)) == found
    missing = [key for key, value in found.items() if value is None]
    assert not missing
    assert {target.key for target in (*crowd.targets(20, setting), *HELD)} <= found.keys()
    assert {"players_held", "tick_ms_p99", "bytes_per_s", "floor_ratio"} <= found.keys()


def test_what_a_bench_starts_may_open_all_the_files_there_are() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = (min(1000, before[1]), before[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, few)
    try:
        with on_load_core():
            assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == few
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.alone
async def test_a_small_simulation_is_measured_from_start_to_end() -> None:
    """Everybody comes in over the link, and every frame is read from the ring."""
    found = await simulation.measure(players=30, seconds=1, seed=1, say=print)
    assert (found["players"], found["missing"], found["frames_missed"]) == (30, 0, 0)
    assert found["acknowledged_per_s"] > 0
    assert found["bytes_per_tick"] > 0
    assert {target.key for target in simulation.TARGETS} <= found.keys()


def test_a_server_is_measured_together_with_its_gateways(tmp_path: Path) -> None:
    """The stand-in for a server has one child that is called like a gateway, and one that is not."""
    child = "import sys; end = sys.stdin.read()"
    parent = (
        "import subprocess, sys, time\n"
        f"ends = [subprocess.Popen([sys.executable, '-c', {child!r}, name], stdin=subprocess.PIPE)"
        f" for name in ({GATEWAY!r}, 'another')]\n"
        "print(ends[0].pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        gateway = int(process.stdout.readline())
        server = LiveServer(process, tmp_path, tmp_path / "log", 0, 0)
        assert server.gateways() == [gateway]
        assert server.rss_kib() > ServerProcess.rss_kib(server)
        process.terminate()


# --- the most players held ---


@pytest.mark.parametrize(
    ("truth", "start", "tried", "found"),
    [
        (3700, 1000, [1000, 2000, 4000, 3000, 3500, 3750, 3620, 3680], 3680),
        (400, 100, [100, 200, 400, 800, 600, 500, 450, 420], 400),
        (1000, 1000, [1000, 2000, 1500, 1250, 1120, 1060, 1030], 1000),
        (60, 1000, [1000, 500, 250, 120, 60, 90, 80, 70], 60),
        (10, 1000, [1000, 500, 250, 120, 60, 30, 20, 10], 10),
        (9, 100, [100, 50, 20, 10], 0),
        (99_999, 5000, [5000, 10_000, 16_000], 16_000),
        (99_999, 99_999, [16_000], 16_000),
        (15, 1, [10, 20], 10),
    ],
)
def test_the_search_doubles_and_bisects(truth: int, start: int, tried: list[int], found: int) -> None:
    asked: list[int] = []

    def holds(players: int) -> bool:
        asked.append(players)
        return players <= truth

    assert most_held(holds, start) == found
    assert asked == tried


def test_the_search_ends_within_its_resolution() -> None:
    for truth in range(10, 16_000, 97):

        def holds(players: int, truth: int = truth) -> bool:
            return players <= truth

        found = most_held(holds, start=1000)
        assert found <= truth < found + resolution(found) + ROUND_TO


HOLDING: dict[str, Any] = {
    "missing": 0,
    "snapshot_hz_p50": 19.9,
    "snapshot_interval_ms_p99": 70.0,
    "input_to_neighbour_ms_p99": 90.0,
    "errors": 0,
    "lost": 0,
    "bots_cpu_share": 0.5,
    "server_waited_share": 0.0,
}


@pytest.mark.parametrize(
    ("changed", "reasons"),
    [
        ({}, []),
        ({"snapshot_hz_p50": 19.7}, ["snapshots a second, median client: 19.7 (at least 19.8)"]),
        ({"snapshot_interval_ms_p99": 101.0}, ["between snapshots p99, ms: 101 (at most 100)"]),
        (
            {"input_to_neighbour_ms_p99": None},
            ["input to a neighbour p99, ms: not measured (at most 150)"],
        ),
        ({"missing": 1, "lost": 2}, ["players missing: 1 (at most 0)", "lost lines: 2 (at most 0)"]),
        (
            {"errors": 3, "bots_cpu_share": 0.99},
            ["errors: 3 (at most 0)", "the load itself used 99% of its core"],
        ),
        ({"bots_cpu_share": 0.99}, []),
        (
            {"errors": 1, "server_waited_share": 0.1},
            ["errors: 1 (at most 0)", "for 10% of the time another program had the server's core"],
        ),
    ],
)
def test_why_a_crowd_was_not_held(changed: dict[str, Any], reasons: list[str]) -> None:
    assert why_not({**HOLDING, **changed}) == reasons


def test_a_try_that_fails_is_repeated_once_and_the_best_is_kept() -> None:
    moments = {200: [False, True], 400: [False, False]}
    said: list[str] = []

    def measure(players: int) -> Measured:
        held = moments[players].pop(0) if players in moments else players < 300
        if players == 250:
            raise BenchError("gone")
        found = {**HOLDING, "players": players, "errors": 0 if held else 1}
        return Measured(Run(players, players, Tally()), found)

    search = Search(measure, say=said.append)
    assert search.run(100).figures["players"] == 240
    assert [(one.players, one.held) for one in search.tries[:5]] == [
        (100, True),
        (200, False),
        (200, True),
        (400, False),
        (400, False),
    ]
    assert Try(250, False, ("gone",)) in search.tries
    assert said[1] == "200 players: errors: 1 (at most 0) - once more"


def test_a_search_in_which_nothing_holds_says_why() -> None:
    def measure(players: int) -> Measured:
        raise BenchError("no server")

    with pytest.raises(BenchError, match="not even 10 players were held: no server"):
        Search(measure, say=lambda text: None).run(10)
