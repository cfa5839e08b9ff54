"""The benches of what is durable: their load, their arithmetic, and that each runs to its end. No figure is judged here."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice, pairwise
from typing import Any

import pytest
from rich.console import Console

from protocol.edits import TILE_EDIT, unpack
from protocol.messages import PLOT_TILES, LandAbandon, LandClaim, MarketBuy, TileEdit
from protocol.snapshot import CELL_TILES
from server.config import WorldConfig
from tools.bench import durable, homesteads, recovery
from tools.bench.durable import Moment, Setting, stage_figures
from tools.bench.homesteads import Homesteader, Load, dry_spots, life
from tools.bench.live import Sample
from tools.bots.fleet import Plan, Target
from world.entries import BEGINNING, chained

SEED = WorldConfig().seed
ACTIONS_IN_LIFE = 10


# --- the load ---


def test_a_life_is_ten_actions_and_the_next_begins_with_the_other_player() -> None:
    steps = life((64, -32))
    asked, answer = [next(steps)], {"parcel_id": 9, "listing_id": 12}
    asked += [steps.send(answer) for _ in range(2 * ACTIONS_IN_LIFE - 1)]
    kinds = [request for _, request, _ in asked]
    assert kinds[:ACTIONS_IN_LIFE] == kinds[ACTIONS_IN_LIFE:]
    assert Counter(kinds[:ACTIONS_IN_LIFE])[TileEdit] == 3
    assert {who for who, request, _ in asked if request is LandClaim} == {0, 1}
    for (seller, _, _), (buyer, request, _) in pairwise(asked):
        assert request is not MarketBuy or buyer != seller
    assert (asked[9][0], asked[9][1]) == (asked[10][0], LandAbandon)


def test_what_is_built_lies_on_the_plot() -> None:
    steps, answer = life((-64, 32)), {"parcel_id": 9, "listing_id": 12}
    next(steps)
    for _, request, fields in islice((steps.send(answer) for _ in range(100)), ACTIONS_IN_LIFE):
        if request is TileEdit:
            records = unpack(fields[0], TILE_EDIT)
            assert ((records["x"] >= -64) & (records["x"] < -64 + PLOT_TILES)).all()
            assert ((records["y"] >= 32) & (records["y"] < 32 + PLOT_TILES)).all()


def test_each_homestead_has_a_chunk_with_land_near_the_middle() -> None:
    spots = dry_spots(SEED, 30)
    assert len(set(spots)) == 30
    assert all(x % CELL_TILES == y % CELL_TILES == 0 for x, y in spots)
    assert max(max(abs(x), abs(y)) for x, y in spots) < 10 * CELL_TILES


@dataclass
class Loaded:
    """A load without lines, and what its homesteads asked for."""

    load: Load
    asked: list[Any] = field(default_factory=list)

    def answer(self, count: int, result: Mapping[str, Any] | None) -> None:
        """The first `count` requests that wait are answered."""
        for then in self.asked[:count]:
            then(result)
        del self.asked[:count]


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> Loaded:
    """Two players with four homesteads."""
    loaded = Loaded(Load(Plan(Target("localhost", 1, "/", "127.0.0.1"), count=2, seconds=0)))
    monkeypatch.setattr(
        Homesteader, "ask", lambda bot, request, fields, then, due_ns: loaded.asked.append(then)
    )
    loaded.load.settle([(0, 0), (32, 0), (0, 32), (32, 32)])
    return loaded


def test_as_fast_as_it_goes_each_homestead_has_one_action_on_its_way(loaded: Loaded) -> None:
    loaded.load.pace(None)
    assert len(loaded.asked) == 4
    loaded.answer(3, {"parcel_id": 1})
    assert len(loaded.asked) == 4


def test_at_a_pace_actions_fall_due_and_wait_for_a_free_homestead(loaded: Loaded) -> None:
    load = loaded.load
    load.pace(100)
    begin = load._last_ns
    load.wake(begin + 25_000_000)
    assert len(loaded.asked) == 2
    load.wake(begin + 70_000_000)
    assert len(loaded.asked) == 4  # seven are due, four can be asked for
    loaded.answer(4, {"parcel_id": 1})
    assert len(loaded.asked) == 3
    loaded.answer(3, {"parcel_id": 1})
    assert not loaded.asked


def test_a_refused_homestead_is_an_error(loaded: Loaded) -> None:
    loaded.load.pace(None)
    loaded.answer(1, None)
    assert loaded.load.tally.errors.total() == 1


# --- figures ---


def test_a_stage_tells_rates_shares_and_what_an_action_cost() -> None:
    ticks = {"landworld_tick_seconds_count": 0.0, "landworld_tick_seconds_bucket{le=+Inf}": 0.0}
    ticked = {"landworld_tick_seconds_count": 40.0, "landworld_tick_seconds_bucket{le=+Inf}": 40.0}
    before, after = (
        Moment(Sample(10.0, 1.0, 0.5, ticks), 2.0, 3.0),
        Moment(Sample(12.0, 2.0, 0.7, ticked), 2.4, 3.2),
    )
    found = stage_figures("most", before, after, 2_000, [10.0] * 98 + [90.0, 100.0])
    assert (found["actions_per_s"], found["ack_ms_p50"], found["ack_ms_p99"]) == (1_000, 10, 90)
    assert (found["server_cpu_share"], found["database_cpu_share"], found["load_cpu_share"]) == (
        0.5,
        0.1,
        0.2,
    )
    assert (found["server_us_per_action"], found["database_us_per_action"]) == (500, 100)
    assert (found["tick_hz"], found["server_waited_share"]) == (20, 0.1)
    assert stage_figures("still", before, after, 0, [])["server_us_per_action"] is None


# --- live ---


@pytest.mark.alone
def test_durable_actions_are_measured_beside_single_transactions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable, "SOME_PER_S", 20)
    found = durable.measure(Setting(seconds=2, actors=4, homesteads=20, walkers=4))
    assert not found["errors"], found["errors_by_reason"]
    names = [stage["stage"] for stage in found["stages"]]
    assert names == ["warm-up", "most", "half", "still", "some", "still", "some", "crowded"]
    assert found["actions_per_s"] > 0
    assert found["single_transactions_per_s"] > 0
    assert {target.key for target in durable.PROMISES} <= found.keys()
    assert json.loads(json.dumps(found)) == found


@pytest.mark.alone
def test_a_history_chains_and_comes_back_after_a_start(monkeypatch: pytest.MonkeyPatch) -> None:
    digest = BEGINNING
    for entry in recovery.history(5):
        digest = chained(digest, entry.record)
        assert entry.digest == digest
    monkeypatch.setattr(recovery, "BATCH", 100)
    found = recovery.measure(250, Console(quiet=True))
    assert (found["parcels"], found["entries"]) == (250, 250)
    assert found["welcome_s"] >= found["ready_s"] > 0
    assert found["memory_mib_max"] > 50
    assert {target.key for target in recovery.targets(250)} <= found.keys()
    assert json.loads(json.dumps(found)) == found


def test_the_life_of_the_load_is_that_of_the_peer() -> None:
    from tools.bench import single

    assert {request for _, request, _ in _steps(ACTIONS_IN_LIFE)} == single._DO.keys()


def _steps(count: int) -> list[homesteads.Step]:
    steps = life((0, 0))
    return [next(steps), *(steps.send({"parcel_id": 1, "listing_id": 7}) for _ in range(count - 1))]
