"""Leases as tables: who asks for what, how many ticks pass, and what is answered; and, whatever happens, money and builds come back."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.edits import EDITS_MAX
from protocol.errors import Refusal
from protocol.messages import (
    Cut,
    LandAbandon,
    LandDescribe,
    LandForSale,
    LandLeave,
    LandLet,
    LandMerge,
    LandMine,
    LandOpen,
    LandPermit,
    LandRent,
    LandTake,
    LandTaken,
    LandToLet,
    LandTransfer,
    ListingHeld,
    MarketCancel,
    Role,
    Standing,
    TilesEdited,
)
from tests.world.support import ADA, BEA, CAL, World, act, balanced, ids, outcome
from tests.world.test_land import LAND, NO, Row, build, claim, got, held, rules, sell, split
from world import leases, queries
from world.building import kinds_on
from world.commands import AnyDurable, Settle
from world.digest import digest
from world.dues import STALE_MIN, Dues
from world.entries import Entry, apply, read
from world.ledger import ESCROW, Post
from world.parcels import Parcel
from world.state import State
from world.tiles import Build

TICKS = 40  # of a term, at 20 a second
TERM_MS = 2_000
WALL, PATH, FENCE, BARE = Build.WALL, Build.PATH, Build.FENCE, Build.NOTHING


def let(parcel_id: int = 1, rent: int | None = 100, deposit: int = 0, renewable: bool = False) -> LandLet:
    return LandLet(*ids(), parcel_id, rent, TERM_MS, deposit, renewable)


def rent(
    parcel_id: int = 1, seen: int = 100, term_ms: int | None = None, deposit: int | None = None
) -> LandRent:
    return LandRent(*ids(), parcel_id, seen, term_ms, deposit)


def leave(parcel_id: int = 1) -> LandLeave:
    return LandLeave(*ids(), parcel_id)


def run(*rows: Row | int, world: World | None = None) -> World:
    """Every line of a table, one tick each; a number: so many ticks in which only what is due is done."""
    world = world or World(rules=rules(replace(LAND, lease_term_ms_min=1_000)))
    for number, row in enumerate(rows, 1):
        if isinstance(row, int):
            wait(world, row)
            continue
        who, request, expected = row
        assert outcome(world.do(act(who, request))) == expected, f"line {number}: {request}"
        balanced(world.state.ledger)
    return world


def wait(world: World, ticks: int) -> list[str]:
    """The kinds of what the world did by itself meanwhile."""
    kinds = []
    for _ in range(ticks):
        kinds += [entry.kind for entry in world.do(Settle(16)).entries]
        balanced(world.state.ledger)
    return kinds


OK = held(1)
CLAIMED: Row = (ADA, claim(0, 0, 2, 1), got(1, 200))


def wall(x: int, *, what: int = WALL) -> Any:
    return build((x, 0, what))


BUILT = TilesEdited(1)

TABLES: dict[str, list[Row | int]] = {
    "an offer is the owner's, and has a term": [
        CLAIMED,
        (BEA, let(), NO.NOT_OWNER),
        (BEA, rent(), NO.CHANGED),
        (ADA, LandLet(*ids(), 1, 100), NO.BAD_REQUEST),
        (ADA, LandLet(*ids(), 1, 100, 999), NO.BAD_REQUEST),
        (ADA, let(9), NO.NOT_FOUND),
        (ADA, let(), OK),
        (ADA, LandLet(*ids(), 1), OK),
        (BEA, rent(), NO.CHANGED),
    ],
    "what is rented is rented as it was seen": [
        CLAIMED,
        (ADA, let(rent=100, deposit=50), OK),
        (BEA, rent(seen=99), NO.CHANGED),
        (BEA, rent(seen=100, deposit=49), NO.CHANGED),
        (BEA, rent(seen=100, term_ms=TERM_MS + 1), NO.CHANGED),
        (ADA, rent(seen=100), NO.BAD_REQUEST),
        (BEA, rent(seen=100, deposit=50, term_ms=TERM_MS), OK),
        (CAL, rent(seen=100), NO.CHANGED),
    ],
    "rent and deposit must be there": [
        CLAIMED,
        (ADA, let(rent=1_000, deposit=501), OK),
        (BEA, rent(seen=1_000), NO.INSUFFICIENT_FUNDS),
        (ADA, let(rent=1_000, deposit=500), OK),
        (BEA, rent(seen=1_000), OK),
    ],
    "the tenant stands where the owner stood, but cannot give it away": [
        CLAIMED,
        (ADA, let(), OK),
        (ADA, LandPermit(*ids(), 1, CAL, Standing.MANAGER), OK),
        (BEA, rent(), OK),
        (CAL, LandDescribe(*ids(), 1, "Cal's", ""), NO.NOT_OWNER),
        (ADA, LandDescribe(*ids(), 1, "Ada's", ""), NO.NOT_OWNER),
        (ADA, wall(1), NO.NOT_OWNER),
        (BEA, LandDescribe(*ids(), 1, "Bea's", ""), OK),
        (BEA, wall(1), BUILT),
        (BEA, LandOpen(*ids(), 1, False, False), OK),
        (BEA, LandPermit(*ids(), 1, CAL, Standing.MANAGER), OK),
        (BEA, LandPermit(*ids(), 1, ADA, Standing.BUILDER), OK),
        (ADA, wall(2), BUILT),
        (CAL, LandPermit(*ids(), 1, BEA, Standing.NONE), NO.BAD_REQUEST),
        (BEA, LandPermit(*ids(), 1, CAL, Standing.TENANT), NO.BAD_REQUEST),
        *((BEA, one, NO.NOT_OWNER) for one in (LandTransfer(*ids(), 1, CAL), LandAbandon(*ids(), 1))),
    ],
    "what is let is not sold, given away, divided or abandoned": [
        CLAIMED,
        (ADA, claim(2, 0), got(2, 100)),
        (ADA, let(), OK),
        (ADA, sell(1, 500), NO.NOT_ALLOWED),
        (ADA, split(1, Cut.VERTICAL, 1), NO.NOT_ALLOWED),
        (BEA, rent(), OK),
        (ADA, sell(1, 500), NO.NOT_ALLOWED),
        (ADA, LandTransfer(*ids(), 1, CAL), NO.NOT_ALLOWED),
        (ADA, split(1, Cut.VERTICAL, 1), NO.NOT_ALLOWED),
        (ADA, LandMerge(*ids(), 2, 1), NO.NOT_ALLOWED),
        (ADA, LandAbandon(*ids(), 1), NO.NOT_ALLOWED),
        (ADA, let(), NO.NOT_ALLOWED),
        (CAL, LandTake(*ids(), 1), NO.CHANGED),
        TICKS,
        (ADA, LandTransfer(*ids(), 1, CAL), OK),
    ],
    "what is for sale is not to let, and who buys or is given it finds no offer": [
        CLAIMED,
        (ADA, sell(1, 500), ListingHeld(2, 1)),
        (ADA, let(), NO.NOT_ALLOWED),
        (ADA, MarketCancel(*ids(), 2), ListingHeld(2, 1)),
        (ADA, let(), OK),
        (ADA, LandTransfer(*ids(), 1, CAL), OK),
        (ADA, let(), NO.NOT_ALLOWED),
        (CAL, LandTake(*ids(), 1), LandTaken(1, ADA)),
        (BEA, rent(), NO.CHANGED),
    ],
    "a lease ends by itself, and only then": [
        CLAIMED,
        (ADA, let(), OK),
        (BEA, rent(), OK),
        TICKS - 2,
        (BEA, wall(1), BUILT),
        1,
        (BEA, wall(2), NO.NOT_OWNER),
    ],
    "it goes on while it is renewable, nobody gave notice and the rent is there": [
        CLAIMED,
        (ADA, let(rent=500, renewable=True), OK),
        (BEA, rent(seen=500), OK),
        2 * TICKS,
        (BEA, wall(1), BUILT),
        TICKS,
        (BEA, wall(2), NO.NOT_OWNER),
        (BEA, leave(), NO.CHANGED),
    ],
    "tenant and owner may give notice, and nobody else": [
        CLAIMED,
        (ADA, claim(3, 0), got(2, 100)),
        *((ADA, let(one, renewable=True), held(one)) for one in (1, 2)),
        *((BEA, rent(one), held(one)) for one in (1, 2)),
        (CAL, leave(1), NO.NOT_OWNER),
        (BEA, leave(1), OK),
        (ADA, leave(2), held(2)),
        (BEA, leave(9), NO.NOT_FOUND),
        (BEA, wall(1), BUILT),
        TICKS,
        (BEA, wall(2), NO.NOT_OWNER),
        (BEA, wall(49), NO.NOT_OWNER),
    ],
    "one player rents so many at most": [
        *((ADA, claim(3 * one, 0), got(one, 100)) for one in (1, 2, 3, 4)),
        *((ADA, let(one, 1), held(one)) for one in (1, 2, 3, 4)),
        (CAL, claim(0, 9), got(5, 100)),
        (CAL, let(5, 1), held(5)),
        *((BEA, rent(one, 1), held(one)) for one in (1, 2, 3, 4)),
        (BEA, rent(5, 1), NO.LIMIT_REACHED),
    ],
}


@pytest.mark.parametrize("rows", TABLES.values(), ids=TABLES)
def test_the_rules_line_by_line(rows: list[Row | int]) -> None:
    run(*rows)


def test_rent_goes_to_the_owner_and_the_deposit_into_escrow_in_one_entry_and_back_in_one() -> None:
    world = run(CLAIMED, (ADA, let(rent=300, deposit=700), OK))
    before = dict(world.state.ledger.balances)
    (entry,) = world.do(act(BEA, rent(seen=300))).entries
    assert world.state.ledger.balances[ADA] == before[ADA] + 300
    assert world.state.ledger.balances[BEA] == LAND.starting_grant - 1_000
    assert (world.state.ledger.balance(ESCROW), world.state.ledger.held) == (700, {BEA: 700})
    assert world.state.ledger.holds[entry.seq].account == BEA
    assert wait(world, TICKS) == ["lease_ended"]
    assert world.state.ledger.balances[BEA] == LAND.starting_grant - 300
    assert (world.state.ledger.balance(ESCROW), world.state.ledger.held) == (0, {})


def test_what_a_tenant_changed_is_at_the_end_as_it_was() -> None:
    world = run(
        CLAIMED,
        (ADA, LandDescribe(*ids(), 1, "Inn", "Come in."), OK),
        (ADA, LandOpen(*ids(), 1, True, True), OK),
        (ADA, LandPermit(*ids(), 1, CAL, Standing.BUILDER), OK),
        (ADA, build((0, 0, WALL), (31, 15, PATH), (5, 5, FENCE)), TilesEdited(3)),
    )
    before, kinds = world.state.parcels.by_id[1], kinds_on(world.state, (0, 0, 2, 1))
    run(
        (ADA, let(), OK),
        (BEA, rent(), OK),
        (BEA, LandDescribe(*ids(), 1, "Den", ""), OK),
        (BEA, LandOpen(*ids(), 1, False, False), OK),
        (BEA, LandPermit(*ids(), 1, ADA, Standing.VISITOR), OK),
        (BEA, build((0, 0, BARE), (5, 5, WALL), (16, 0, FENCE)), TilesEdited(3)),
        TICKS,
        world=world,
    )
    after = world.state.parcels.by_id[1]
    assert msgspec.structs.replace(after, seq=0) == msgspec.structs.replace(before, seq=0)
    assert (kinds_on(world.state, (0, 0, 2, 1)) == kinds).all()


def test_what_is_to_let_is_found_until_somebody_rents_it() -> None:
    """Guard: Parcels.put lists what has an offer, and only that."""
    world = run(CLAIMED, (ADA, let(), OK))
    (found,) = queries.land_to_let(world.state, CAL, LandToLet(1)).parcels
    assert (found.parcel_id, found.to_let is not None) == (1, True)
    assert not queries.land_for_sale(world.state, CAL, LandForSale(1)).parcels
    run((BEA, rent(), OK), world=world)
    assert not queries.land_to_let(world.state, CAL, LandToLet(1)).parcels
    wait(world, TICKS)
    assert not queries.land_to_let(world.state, CAL, LandToLet(1)).parcels


def test_both_find_what_is_let_among_their_own() -> None:
    world = run(CLAIMED, (ADA, let(deposit=5), OK), (BEA, rent(), OK))
    (mine,) = queries.land_mine(world.state, BEA, LandMine(1)).parcels
    (ours,) = queries.land_mine(world.state, ADA, LandMine(1)).parcels
    assert (mine.standing, ours.standing) == (Standing.TENANT, Standing.NONE)
    assert mine.lease is not None
    assert (mine.lease.tenant_id, mine.lease.ends_ms, mine.lease.leaving) == (BEA, 2_150, True)
    wait(world, TICKS)
    assert not queries.land_mine(world.state, BEA, LandMine(1)).parcels


# --- by itself ---


def test_what_waited_for_the_journal_is_made_up_for_in_order() -> None:
    """While nothing is settled the tenant stays; then each term that went by is paid. Guard: terms that follow each other."""
    world = run(
        CLAIMED,
        (ADA, claim(3, 0), got(2, 100)),
        (ADA, let(1, rent=100, renewable=True), OK),
        (ADA, let(2), held(2)),
        (BEA, rent(1), OK),
        (CAL, rent(2), held(2)),
    )
    for _ in range(3 * TICKS):
        world.do()
    assert world.state.ledger.balances[BEA] == LAND.starting_grant - 100
    first = world.do(Settle(2)).entries
    rest = world.do(Settle(16)).entries
    assert [entry.kind for entry in first] == ["lease_renewed", "lease_ended"]
    assert [entry.kind for entry in rest] == ["lease_renewed"] * 2
    assert world.state.ledger.balances[BEA] == LAND.starting_grant - 400


def test_what_is_put_back_in_one_tick_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guard: SETTLE_TILES_MAX in world.tick._settle; a parcel of 64 plots that is fully built takes 14 ms."""
    monkeypatch.setattr("world.tick.SETTLE_TILES_MAX", 2)
    world = World(rules=rules(replace(LAND, lease_term_ms_min=1_000)))
    for number in range(3):
        world.do(act(ADA, claim(3 * number, 0)))
    world.do(
        *(act(ADA, let(number)) for number in (1, 2, 3)), *(act(BEA, rent(number)) for number in (1, 2, 3))
    )
    for number in range(3):
        world.do(act(BEA, build((48 * number, 0, WALL), (48 * number + 1, 0, WALL))))
    world.state.tick += TICKS
    assert [len(world.do(Settle(16)).entries) for _ in range(4)] == [1, 1, 1, 0]


def test_a_recalled_world_knows_what_is_due() -> None:
    """From the rows of the database alone. Guard: Dues.put of lease_dues in Parcels.put."""
    world = run(CLAIMED, (ADA, let(), OK), (BEA, rent(), OK))
    again = State(world.state.rules)
    row = msgspec.json.encode(world.state.parcels.by_id[1])
    apply(again, msgspec.json.decode(row, type=Parcel))
    dues, last = again.parcels.lease_dues, world.state.tick + TICKS
    assert (dues.first(last - 1), dues.first(last)) == (None, 1)


def test_the_same_commands_settle_the_same() -> None:
    rows = (CLAIMED, (ADA, let(renewable=True), OK), (BEA, rent(), OK), (BEA, wall(1), BUILT), TICKS)
    one, other = run(*rows), run(*rows)
    assert one.state.seq == other.state.seq == 5
    assert digest(one.state) == digest(other.state)


@given(st.lists(st.tuples(st.integers(0, 5), st.none() | st.integers(0, 50)), max_size=400))
def test_dues_are_found_as_a_look_at_all_would_find_them(puts: list[tuple[int, int | None]]) -> None:
    dues, model = Dues(), dict[int, int]()
    for parcel_id, tick in puts:
        dues.put(parcel_id, tick)
        model.pop(parcel_id, None)
        if tick is not None:
            model[parcel_id] = tick
        assert len(dues) == len(model)
        assert len(dues._heap) <= 2 * len(model) + STALE_MIN
    while model:
        tick, parcel_id = min((tick, parcel_id) for parcel_id, tick in model.items())
        assert (dues.first(tick - 1), dues.first(tick)) == (None, parcel_id)
        dues.put(parcel_id, None)
        del model[parcel_id]
    assert dues.first(10**9) is None


# --- whatever happens ---

TILES = st.lists(
    st.tuples(st.integers(-17, 34), st.integers(-17, 34), st.sampled_from(Build)),
    min_size=1,
    max_size=EDITS_MAX,
)


@settings(max_examples=60, deadline=None)
@given(TILES, st.lists(TILES, max_size=4), st.integers(1, 2), st.integers(1, 3))
def test_any_build_comes_back_exactly(
    before: list[tuple[int, int, Build]], during: list[list[tuple[int, int, Build]]], width: int, height: int
) -> None:
    """On, beside and across chunks, and what lies outside stays. Guards: each of the two arrays of put_back."""
    world = World(rules=rules(replace(LAND, starting_grant=10**6, lease_term_ms_min=1_000)))
    edit(world, ADA, before)
    place = (-1, 0, width, height)
    plots = (-1, -1, 4, 4)
    world.state.parcels.put(Parcel(1, ADA, "Ada", *place))
    run((ADA, let(), OK), (BEA, rent(), OK), world=world)
    whole = kinds_on(world.state, plots)
    for tiles in during:
        edit(world, BEA, [one for one in tiles if world.state.parcels.at(one[0], one[1])])
    wait(world, TICKS)
    assert (kinds_on(world.state, plots) == whole).all()


def edit(world: World, who: int, tiles: list[tuple[int, int, Build]]) -> None:
    """By an admin, so that it is done anywhere."""
    if tiles:
        world.do(act(who, build(*tiles), role=Role.ADMIN))


class Sums:
    """What a tenant paid as deposits and got back."""

    def __init__(self) -> None:
        self.put_in = self.got_back = 0

    def take(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            for change in read(entry.record).changes:
                if isinstance(change, Post) and change.account == ESCROW:
                    self.put_in += max(0, change.amount)
                    self.got_back += max(0, -change.amount)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["let", "rent", "leave", "wait", "take", "give"]),
        st.sampled_from([ADA, BEA, CAL]),
        st.integers(1, 3),
        st.integers(0, 900),
        st.booleans(),
    ),
    max_size=60,
)


@settings(max_examples=80, deadline=None)
@given(STEPS)
def test_no_money_is_made_or_lost_and_each_deposit_comes_back_once(steps: list[Any]) -> None:
    """Whatever three people ask of three parcels. Guards: the hold's end in deposit_back, its postings."""
    world = run(*((ADA, claim(3 * one, 0), got(one, 100)) for one in (1, 2, 3)))
    state, sums = world.state, Sums()
    for what, who, parcel_id, amount, renewable in steps:
        if what == "wait":
            sums.take(entry for _ in range(TICKS // 2) for entry in world.do(Settle(1)).entries)
            continue
        parcel = state.parcels.by_id[parcel_id]
        seen = parcel.to_let.rent if parcel.to_let else 0
        requests: dict[str, AnyDurable] = {
            "let": let(parcel_id, amount, deposit=amount // 2, renewable=renewable),
            "rent": rent(parcel_id, seen),
            "leave": leave(parcel_id),
            "take": LandTake(*ids(), parcel_id),
            "give": LandTransfer(*ids(), parcel_id, 1 + amount % 3),
        }
        sums.take(world.do(act(who, requests[what])).entries)
        balanced(state.ledger)
    for parcel in list(state.parcels.by_id.values()):
        if parcel.lease is not None:
            world.do(act(parcel.owner_id, leave(parcel.parcel_id)))
    sums.take(entry for _ in range(2 * TICKS) for entry in world.do(Settle(1)).entries)
    balanced(state.ledger)
    assert (state.ledger.holds, state.ledger.balance(ESCROW)) == ({}, 0)
    assert sums.put_in == sums.got_back
    assert len(state.parcels.lease_dues) == 0


def test_terms_are_told_in_their_two_largest_units() -> None:
    terms = (3_000, 90_000, 3_600_000, 216_000_000)
    told = ["3 seconds", "1 minute 30 seconds", "1 hour", "2 days 12 hours"]
    assert [leases.term_in_words(term) for term in terms] == told


def test_an_owner_is_told_that_the_land_is_let_and_not_that_it_is_not_theirs() -> None:
    world = run(CLAIMED, (ADA, let(), OK), (BEA, rent(), held(1)))
    (reply,) = world.do(act(ADA, LandOpen(*ids(), 1, False, False))).replies
    assert isinstance(reply.result, Refusal)
    assert "is let to" in reply.result.message
