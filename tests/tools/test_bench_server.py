"""The benches of a whole server: their arithmetic, and that each runs to its end. No figure is judged here: the machine may be busy."""

import argparse
import json
import re
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console

from tools.bench import ALONE, BENCHES, idle, latency, memory, run_all, slow, soak, storm
from tools.bench.attend import Look, kernel_kib, room_for, sources_for, tcp_pages
from tools.bench.live import BenchError, Sample, live_server
from tools.bots.deaf import Deaf
from tools.bots.fleet import Fleet, Plan, parse_target
from tools.bots.report import Run, Tally

ROOT = Path(__file__).parents[2]


def look(
    at_s: float = 0.0,
    cpu_s: float = 0.0,
    rss_kib: int = 0,
    kernel_kib: int = 0,
    metrics: dict[str, float] | None = None,
) -> Look:
    return Look(Sample(at_s, cpu_s, 0.0, metrics or {}), rss_kib, kernel_kib)


# --- processes ---


def test_the_kernels_memory_is_read_where_it_stands() -> None:
    text = "sockets: used 332\nTCP: inuse 219 orphan 0 tw 411 alloc 221 mem 67\nUDP: inuse 0 mem 3\n"
    assert tcp_pages(text) == 67
    assert kernel_kib() >= 0
    with pytest.raises(BenchError, match="no TCP"):
        tcp_pages("sockets: used 332\n")


def test_what_is_sent_and_not_taken_is_read_for_one_port() -> None:
    head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt uid timeout inode"
    rows = [
        "0: 0100007F:1F90 00000000:0000 0A 00000007:00000000 00:00000000 00000000 0 0 1",  # it listens
        "1: 0100007F:1F90 0100007F:9C40 01 00001000:00000000 00:00000000 00000000 0 0 2",
        "2: 0100007F:9C40 0100007F:1F90 01 00000009:00000200 00:00000000 00000000 0 0 3",  # the client's end
        "3: 0100007F:1F90 0200007F:9C41 01 00000000:00000000 00:00000000 00000000 0 0 4",
    ]
    assert slow.sent_not_taken("\n".join((head, *rows)), 8080) == [4096, 0]


@pytest.mark.parametrize(("players", "sources"), [(1, 1), (20_000, 1), (20_001, 2), (60_000, 3)])
def test_many_players_come_from_several_addresses(players: int, sources: int) -> None:
    assert sources_for(players) == sources


def test_there_is_room_for_all_of_them() -> None:
    settings = room_for(30_000, 5_000, **{"server.gateways": 2})
    assert settings["server.max_players"] == 30_000
    assert settings["limits.connections_max"] == settings["limits.connections_per_address"] == 30_064
    assert settings["server.gateways"] == 2
    assert room_for(1, 36)["world.spawn_radius"] == room_for(1, 5)["world.spawn_radius"]


# --- figures ---


def test_what_an_idle_player_costs() -> None:
    tally = Tally(errors=Counter({"oops": 2}), cpu_s=3.0, lost=1)
    ground = {"landworld_chunks_loaded": 10.0, "landworld_chunk_cache_bytes": 10_240.0}
    ticks = {"landworld_tick_seconds_count": 0.0, "landworld_tick_seconds_bucket{le=+Inf}": 0.0}
    ticked = {"landworld_tick_seconds_count": 200.0, "landworld_tick_seconds_bucket{le=+Inf}": 200.0}
    found = idle.figures(
        Run(12, 10, tally),
        look(rss_kib=1_000, kernel_kib=4),
        look(0.0, cpu_s=1.0, metrics=ticks),
        look(10.0, cpu_s=2.5, rss_kib=1_100, kernel_kib=44, metrics=ground | ticked),
    )
    assert found["server_cpu_share"] == 0.15
    assert found["memory_kib_per_player"] == 10.0
    assert found["ground_kib_per_player"] == 2.0
    assert found["kernel_kib_per_player"] == 4.0
    assert (found["tick_hz"], found["errors"], found["lost"]) == (20.0, 2, 1)
    assert (found["players"], found["players_held"], found["bots_cpu_share"]) == (12, 10, 0.3)


def test_a_slope_needs_two_sizes() -> None:
    assert memory.slope(memory.Point(100, 5_000), memory.Point(300, 6_000)) == 5.0
    with pytest.raises(BenchError, match="two sizes"):
        memory.slope(memory.Point(100, 5_000), memory.Point(100, 6_000))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], (None, None)),
        ([7], (7, 7)),
        ([1, 9], (1, 9)),
        ([10, 11, 99, *[20] * 24, 30, 5, 31], (11, 30)),  # of 30 values three, and their median
    ],
)
def test_growth_is_told_by_medians_of_both_ends(
    values: list[float], expected: tuple[float | None, float | None]
) -> None:
    assert soak.ends(values) == expected


def test_a_short_soak_warms_up_for_a_quarter_of_it() -> None:
    assert [soak.Setting(minutes).warm_up_s for minutes in (60, 20, 4, 0.2)] == [300, 300, 60, 3]


@pytest.mark.parametrize(
    ("one", "other", "expected"), [(11.0, 10.0, 1.1), (None, 10.0, None), (1.0, None, None), (1.0, 0.0, None)]
)
def test_a_ratio_wants_both(one: float | None, other: float | None, expected: float | None) -> None:
    assert slow.ratio(one, other) == expected


def test_the_wait_for_the_tick_is_what_is_left() -> None:
    phases = {"commands_and_rules_ms_mean": 3.0, "encode_ms_mean": 1.0, "publish_ms_mean": 8.0}
    assert latency.waiting([30.0, 50.0], [1.0, 3.0], phases) == {"wait_for_tick_ms_mean": 30.0}


def test_the_browser_draws_as_far_behind_as_the_bench_says() -> None:
    script = (ROOT / "tools" / "browser" / "world.js").read_text()
    (delay_ms,) = re.findall(r"^const DELAY_MS = (\d+);", script, re.MULTILINE)
    assert int(delay_ms) == latency.DRAWN_BEHIND_MS


def test_all_benches_leave_out_only_the_hour_of_soaking(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    for name, module in BENCHES.items():

        def note(args: argparse.Namespace, name: str = name) -> int:
            ran.append(name)
            return 0

        monkeypatch.setattr(module, "run", note)
    assert run_all(argparse.Namespace()) == 0
    assert set(ran) == BENCHES.keys() - ALONE == BENCHES.keys() - {"soak"}


# --- live ---


@pytest.fixture(autouse=True)
def _settled_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """So few people need no time for their ground."""
    for module in (idle, latency, memory, slow):
        monkeypatch.setattr(module, "SETTLE_S", 0.1)


@pytest.mark.alone
def test_the_deaf_are_closed_and_stay_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fleet ends by itself: nobody is left."""
    monkeypatch.setattr(Deaf, "asked_per_s", 90)
    settings = {"limits.outbox_bytes_max": 65_536, "limits.slow_client_s": 0.5, "log.level": "warning"}
    most = 0

    def note(fleet: Fleet) -> None:
        nonlocal most
        most = max(most, fleet.players)

    with live_server(settings) as server:
        fleet = Fleet(Plan(target=parse_target(server.url), count=2, seconds=0), Deaf)
        fleet.on_progress = note
        fleet.run()
        closed = server.sample().metrics[slow.TOO_SLOW]
    assert (most, closed) == (2, 2)
    assert (fleet.tally.lost, fleet.players, dict(fleet.tally.errors)) == (2, 0, {})


@pytest.mark.alone
def test_those_who_stand_still_are_measured() -> None:
    found = idle.measure(5, seconds=2)
    assert found["players_held"] == 5
    assert not found["errors"], found["errors_by_reason"]
    missing = [key for key, value in found.items() if value is None]
    assert not missing
    assert {target.key for target in idle.targets(5)} <= found.keys()
    assert json.loads(json.dumps(found)) == found


@pytest.mark.alone
def test_the_stages_of_latency_are_measured() -> None:
    found = latency.measure(20, seconds=5)
    assert not found["errors"], found["errors_by_reason"]
    missing = [key for key, value in found.items() if value is None]
    assert not missing
    assert found["round_trip_ms_mean"] < found["input_to_own_answer_ms_mean"]
    rows = latency.table(found).splitlines()
    assert rows[0] == "| 20 players; ms | mean | p50 | p99 |"
    assert {row.count("|") for row in rows} == {5}


@pytest.mark.alone
def test_slow_clients_beside_others_are_measured() -> None:
    setting = slow.Setting(slow=2, players=8, seconds=3, outbox_bytes_max=65_536, asked_per_s=90, spread_s=4)
    found = slow.measure(setting)
    assert not found["errors"], found["errors_by_reason"]
    assert (found["closed_too_slow"], found["players_held"], found["lost"]) == (2, 8, 0)
    assert list(found["stages"]) == ["before", "coming", "filling", "full", "closing", "resting", "after"]
    assert 0 < found["kernel_queue_kib_max"] <= slow.KEPT_BY_KERNEL / 1024
    assert {target.key for target in slow.targets(setting)} <= found.keys()
    assert json.loads(json.dumps(found)) == found


@pytest.mark.alone
def test_a_storm_of_sign_ins_beside_others_is_measured() -> None:
    setting = storm.Setting(rate=10, players=8, seconds=2)
    found = storm.measure(setting)
    assert (found["errors"], found["players_held"], found["lost"], found["unanswered"]) == (0, 8, 0, 0)
    assert found["granted"] + sum(found["refused"].values()) == found["begun"] == 20
    assert {target.key for target in storm.targets(setting)} <= found.keys()
    assert json.loads(json.dumps(found)) == found


@pytest.mark.alone
def test_a_soak_notes_memory_and_draws_it(tmp_path: Path) -> None:
    found = soak.measure(soak.Setting(minutes=0.1, players=5, sample_s=0.5), Console(quiet=True))
    assert (found["players_held"], found["errors"], found["lost"]) == (5, 0, 0)
    assert len(found["memory_kib"]) >= 5
    assert {target.key for target in soak.targets(soak.Setting())} <= found.keys()
    assert "memory" in soak.said(found)
    soak.picture(found, tmp_path / "memory.png")
    assert (tmp_path / "memory.png").stat().st_size > 1_000


@pytest.mark.alone
def test_gateways_are_killed_and_everybody_comes_back() -> None:
    setting = soak.Setting(minutes=0.25, players=6, gateways=2, kill_every_s=7, sample_s=0.5)
    found = soak.measure(setting, Console(quiet=True))
    assert not found["errors"], found["errors_by_reason"]
    assert (found["kills"], found["players_held"]) == (1, 6)
    assert found["resumed"] == found["returned"] == found["lost"]
    assert all(kib for _, _, kib in found["memory_kib"][:2])


def test_only_gateways_can_be_killed() -> None:
    with pytest.raises(BenchError, match="nothing to kill"):
        soak.measure(soak.Setting(kill_every_s=1), Console(quiet=True))


@pytest.mark.alone
def test_memory_of_sockets_and_of_ground_is_looked_at() -> None:
    points, errors = memory.sizes(2, memory.Silent)
    assert ([point.count for point in points], errors) == ([2, 2 * memory.FACTOR], 0)
    ground = memory.ground(1, radius=2, cache_bytes_max=memory.CACHE_BYTES_MIN)
    assert ground.loaded >= 25
    assert ground.cache_bytes / ground.loaded > 500


@pytest.mark.alone
def test_memory_of_land_is_looked_at() -> None:
    point = memory.land(40)
    assert (point.count, point.rss_kib > 50_000) == (40, True)
