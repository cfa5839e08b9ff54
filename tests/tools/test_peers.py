"""`landworld bench peers`: what is said to the peers, the arithmetic of the comparison, and a small crowd on each."""

import argparse
import json
import os
import shutil
from pathlib import Path
from typing import Any

import msgpack
import pytest
from rich.console import Console

from protocol.snapshot import CELL_TILES, UNITS_PER_TILE
from tests.sight import read_blocks
from tools.bench import peers
from tools.bench.crowd import Setting
from tools.bench.peers import node
from tools.bench.peers.dialects import block, colyseus_input, json_input
from tools.bots.behaviour import heading, random_of
from tools.bots.report import Run, Tally


def parse(*words: str) -> argparse.Namespace:
    """The arguments of `landworld bench peers`."""
    parser = argparse.ArgumentParser()
    peers.add_parser(parser.add_subparsers())
    return parser.parse_args(["peers", *words])


# --- dialects ---


@pytest.mark.parametrize(("dx", "dy"), [(0.0, 0.0), (1.0, 0.0), (-0.6, 0.8)])
def test_an_input_says_the_direction_in_each_dialect(dx: float, dy: float) -> None:
    assert json.loads(json_input(7, dx, dy)) == {"seq": 7, "dx": dx, "dy": dy}
    said = colyseus_input(msgpack.packb([dx, dy]))
    unpacker = msgpack.Unpacker()
    unpacker.feed(said[1:])
    assert (said[0], list(unpacker)) == (13, ["move", [dx, dy]])


def test_a_rounded_direction_is_no_longer_than_the_peers_allow() -> None:
    random = random_of(1, 0)
    for _ in range(1000):
        angle = random.uniform(-4, 4)
        said = json.loads(json_input(1, *heading(angle)))
        assert said["dx"] ** 2 + said["dy"] ** 2 <= 1.001


def test_a_seat_is_a_path_to_open_a_socket_at() -> None:
    answer = {"name": "land", "sessionId": "s1", "roomId": "r2", "processId": "p3"}
    assert node.seat_path(answer) == "/p3/r2?sessionId=s1"


@pytest.mark.parametrize(
    ("x", "y", "units"), [(0.0, 0.0, (0, 0)), (1.5, 31.99, (3072, 65516)), (32.0, -0.01, (65535, 0))]
)
def test_a_cell_in_json_is_seen_like_one_of_ours(x: float, y: float, units: tuple[int, int]) -> None:
    (seen,) = read_blocks(block(1, -2, [[3, 9.0, 9.0], [5, x, y]]), 10, 10)
    assert (seen.cx, seen.cy, seen.player_ids) == (11, 8, [3, 5])
    corner = seen.cx * CELL_TILES, seen.cy * CELL_TILES
    assert seen.places[1] == (corner[0] + units[0] / UNITS_PER_TILE, corner[1] + units[1] / UNITS_PER_TILE)


# --- the plane ---


@pytest.mark.parametrize(("players", "side"), [(400, 8), (400, 100), (400, 320), (1000, 500)])
def test_how_many_are_seen_on_a_plane(players: int, side: int) -> None:
    random = random_of(1, 0)

    def cell() -> tuple[int, int]:
        return int(random.uniform(0, side)) // CELL_TILES, int(random.uniform(0, side)) // CELL_TILES

    pairs = [(cell(), cell()) for _ in range(20_000)]
    near = sum(abs(ax - bx) <= 1 and abs(ay - by) <= 1 for (ax, ay), (bx, by) in pairs)
    expected = (players - 1) * near / len(pairs)
    assert peers.seen_on_a_plane(players, side) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("players", [2, 24, 37, 400, 4000])
def test_the_plane_is_the_smallest_that_is_not_too_crowded(players: int) -> None:
    side = peers.side_tiles(players, 36)
    assert peers.seen_on_a_plane(players, side) <= 36
    smaller = side - peers.SIDE_STEP_TILES
    assert smaller == 0 or peers.seen_on_a_plane(players, smaller) > 36


# --- the comparison ---


def system(players: int, cpu_us: float, per_update: float, **more: Any) -> dict[str, Any]:
    """The figures of one server that are compared."""
    return {
        "players_held": players,
        "server_cpu_us_per_entity_update": cpu_us,
        "bytes_per_entity_update": per_update,
        **more,
    }


OURS = system(3000, 0.2, 5.0, tick_ms_p99=20.0, bytes_per_s=1e7, floor_ratio=1.5)


@pytest.mark.parametrize(
    ("systems", "expected"),
    [
        (
            {"ours": OURS, "colyseus": system(400, 2.0, 11.0), "ws": system(2000, 0.4, 19.0)},
            {
                "players_held": 3000,
                "tick_ms_p99": 20.0,
                "bytes_per_s": 1e7,
                "floor_ratio": 1.5,
                "ratio_to_colyseus": 7.5,
                "cpu_ratio_to_colyseus": 10.0,
                "bytes_ratio_to_colyseus": 2.2,
                "ratio_to_ws": 1.5,
                "cpu_ratio_to_ws": 2.0,
                "bytes_ratio_to_ws": 3.8,
            },
        ),
        ({"ours": OURS}, {"players_held": 3000, "ratio_to_colyseus": None, "ratio_to_ws": None}),
        ({"ws": system(2000, 0.4, 19.0)}, {"players_held": None, "ratio_to_ws": None}),
        ({}, {"players_held": None, "floor_ratio": None}),
    ],
)
def test_ratios_say_how_many_times_better_ours_is(
    systems: dict[str, dict[str, Any]], expected: dict[str, Any]
) -> None:
    found = peers.compare(systems, {})
    assert {key: found[key] for key in expected} == expected


def test_what_the_sdk_measures_joins_what_the_fleet_counts() -> None:
    tally = Tally(reads=900, bytes_in=9000, frames_in=900, inputs=10, cpu_s=1.0, seconds=1.0)
    said = {
        "intervals_ms": [50.0, 51.0],
        "latencies_ms": [30.0],
        "in_sight": [36],
        "rates": [20.0, 19.9],
        "inputs": 4,
        "unseen": 1,
        "errors": 2,
        "players": 10,
    }
    run = peers.joined(Run(90, 89, tally), 100, said, 0.5)
    assert (run.wanted, run.players, tally.reads, tally.bytes_in, tally.frames_in) == (
        100,
        99,
        1000,
        10_000,
        1000,
    )
    assert (list(tally.intervals_ms.values), list(tally.rates_hz.values)) == ([50.0, 51.0], [20.0, 19.9])
    assert (tally.inputs, tally.unseen, tally.cpu_s, tally.errors.total()) == (14, 1, 1.5, 2)


# --- running ---


def test_without_node_the_peers_are_left_out_with_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    progress = Console(quiet=True)
    measured, skipped = peers.measure_all(["colyseus", "ws"], Setting(), 24, progress)
    assert not measured
    assert skipped == {"colyseus": "no node on this machine", "ws": "no node on this machine"}


@pytest.mark.skipif(
    not os.environ.get("LANDWORLD_TEST_PEERS"),
    reason="fetches a hundred npm packages and starts other people's servers: LANDWORLD_TEST_PEERS=1 runs it",
)
@pytest.mark.timeout(1200)  # the first run fetches the peers' packages
def test_a_small_crowd_walks_on_each_peer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unable = node.install(Console(stderr=True))
    if unable is not None:
        pytest.skip(unable)
    picture = tmp_path / "peers.png"
    code = peers.run(
        parse("--quick", "--json", "--only", "colyseus", "--only", "ws", "--picture", f"{picture}")
    )
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (code, found["skipped"]) == (0, {})
    for name in ("colyseus", "ws"):
        one = found["systems"][name]
        assert (one["players_held"], one["errors"], one["lost"]) == (peers.QUICK_PLAYERS, 0, 0)
        assert one["snapshot_hz_p50"] > 0
        assert one["in_sight_mean"] > 1
        latency = one["input_to_neighbour_ms_p50"]
        assert latency is None or latency > 0  # a busy machine may leave no time for a probe
        assert 2 < one["bytes_per_entity_update"] < 100
    assert picture.read_bytes().startswith(b"\x89PNG")
