"""The journal: a chain of entries that, read from the first to the last, are the world again."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from protocol.edits import CHUNK_EDIT, pack
from protocol.messages import LandClaim, LandHeld, LandOpen, SaleEnd, Standing
from tests.world.histories import ACTS, RULES, settled
from tests.world.support import ADA, act, balanced, ids, plain
from world import entries
from world.commands import Act, LoadChunk, Settle
from world.digest import digest
from world.entries import BEGINNING, NOBODY, Built, Entry, Outcome, Record, chained, read, write
from world.grid import unpack
from world.ledger import Hold, HoldState, Post
from world.parcels import Before, Freed, Lease, Parcel, Permit, Terms
from world.sales import FeeTerms, Inspection, Listing
from world.state import State
from world.tick import step

DUE_MAX = 16  # more than ever is at once


def lived(acts: list[Act]) -> tuple[State, list[Entry]]:
    """A world in which all this was asked, one a tick, and what was due happened by itself in between, and its entries."""
    world, journal = settled(), list[Entry]()
    for asked in acts:
        journal += world.do(asked, Settle(DUE_MAX)).entries
    balanced(world.state.ledger)
    return world.state, journal


def land_and_money(state: State) -> dict[str, Any]:
    """All that the journal stands for, plain enough to be compared."""
    parcels, ledger = state.parcels, state.ledger
    loaded = state.chunks.slot_of
    return {
        "parcels": parcels.by_id,
        "plots": parcels.by_plot,
        "owners": parcels.by_owner._of,
        "tenants": parcels.by_tenant._of,
        "heirs": parcels.by_heir._of,
        "ways": parcels.ways,
        "sales": state.sales.by_id,
        "sold on": state.sales.by_parcel,
        "sellers": state.sales.by_seller._of,
        "for sale": set(state.sales.offers),
        "to let": set(parcels.to_let),
        "permits": set(parcels.gates._slots),
        "gates": {key: parcels.gates.closed[slot].tolist() for key, slot in loaded.items()},
        "last id": parcels.last_id,
        "balances": ledger.balances,
        "holds": ledger.holds,
        "held": ledger.held,
        "surfaces": {key: (one.version, one.edited()) for key, one in state.chunks.surfaces.items()},
    }


@settings(max_examples=60)
@given(ACTS)
def test_whoever_reads_all_entries_and_applies_them_has_the_world_again(acts: list[Act]) -> None:
    """Nothing of land and money is changed but by entries, and each says all that it changes."""
    state, journal = lived(acts)
    again, before = State(RULES), BEGINNING
    step(again, plain(), 1)
    for number, entry in enumerate(journal, 1):
        assert chained(before, entry.record) == entry.digest
        record = read(entry.record)
        assert record.seq == entry.seq == number
        for change in record.changes:
            entries.apply(again, change)
        before = entry.digest
    assert (state.seq, state.digest) == (len(journal), before)
    assert land_and_money(again) == land_and_money(state)


@settings(max_examples=30)
@given(ACTS)
def test_the_same_acts_make_the_same_entries_to_the_byte(acts: list[Act]) -> None:
    (one, journal), (other, again) = lived(acts), lived(acts)
    assert [entry.record for entry in journal] == [entry.record for entry in again]
    assert digest(one) == digest(other)


@settings(max_examples=30)
@given(ACTS, st.data())
def test_a_record_that_is_changed_missing_or_moved_breaks_the_chain(
    acts: list[Act], data: st.DataObject
) -> None:
    """Guard: `chained` takes the digest of the entry before."""
    _, journal = lived(acts)
    rows = [(entry.record, entry.digest) for entry in journal]
    at = data.draw(st.integers(0, len(rows) - 1))
    record, made = rows[at]
    place = data.draw(st.integers(0, len(record) - 1))
    changed = record[:place] + bytes([record[place] ^ 1]) + record[place + 1 :]
    assert first_broken(rows) is None
    assert first_broken([*rows[:at], (changed, made), *rows[at + 1 :]]) == at
    if at + 1 < len(rows):
        assert first_broken(rows[:at] + rows[at + 1 :]) == at
        assert first_broken([*rows[:at], rows[at + 1], rows[at], *rows[at + 2 :]]) == at


def first_broken(rows: list[tuple[bytes, bytes]]) -> int | None:
    before = BEGINNING
    for number, (record, made) in enumerate(rows):
        if chained(before, record) != made:
            return number
        before = made
    return None


# --- records -------------------------------------------------------------------------------------------------------------------------

BEFORE = Before("n", "d", True, False, (Permit(8, "b", Standing.MANAGER),), bytes(range(256)))
LEASE = Lease(9, "c", Terms(10**15, 0, 2**40, False), 2**62, True, 2**62, BEFORE)
CHANGES: list[entries.Change] = [
    Post(-1, -(10**15), -(10**15)),
    Post(2**32 - 1, 10**15, 10**15),
    Hold(2**62, 7, 0, "bid", HoldState.VOIDED),
    Parcel(
        1, 7, "নদী", -65536, 65535, 1, 64, '"\\', "🏡", False, True, (Permit(8, "b", Standing.VISITOR),), 5
    ),
    Parcel(2**32 - 1, 7, "a", 0, 0, 1, 1),
    Parcel(
        1, 7, "a", 0, 0, 9, 9, to_let=Terms(1, 2, 3, True), paid_until=2**62, arrears=3, way=(-1, 2, 3, 4)
    ),
    Parcel(1, 7, "a", 0, 0, 1, 1, lease=LEASE),
    Freed(3, -1, 2, 3, 4),
    Listing(
        5,
        1,
        7,
        10**15,
        True,
        FeeTerms(10_000, 10**15),
        Inspection(bytes(range(16)), 65_536, 9, bytes(16)),
        2**62,
        6,
        5,
    ),
    Listing(
        5,
        1,
        7,
        0,
        False,
        FeeTerms(0, 0),
        Inspection(bytes(16), 0, 0),
        None,
        2**62,
        5,
        SaleEnd.SOLD,
        2**32 - 1,
    ),
    Built(-32768, 32767, 2**32 - 1, pack([(tile, 3) for tile in range(1024)], CHUNK_EDIT)),
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: type(change).__name__)
def test_a_change_is_read_as_it_was_written(change: entries.Change) -> None:
    state = State(RULES)
    if isinstance(change, Listing):
        entries.apply(state, Parcel(1, 7, "a", 0, 0, 1, 1))
        entries.apply(state, replace(change, end=None, buyer_id=None))
    if isinstance(change, Freed):
        entries.apply(state, Parcel(change.parcel_id, 7, "a", change.px, change.py, change.pw, change.ph))
    entry = write(state, "test", Outcome(LandHeld(9), [change]), None)
    assert read(entry.record) == Record(1, 0, "test", NOBODY, "", "", [change], {"parcel_id": 9})


def test_an_entry_names_who_asked_for_what() -> None:
    world = settled()
    asked = act(ADA, LandClaim(7, bytes(range(16)), 0, 0, 16, 16))
    (entry,) = world.do(asked).entries
    record = read(entry.record)
    assert (record.kind, record.player_id, record.tick) == ("land_claim", ADA, world.state.tick)
    assert (bytes.fromhex(record.action), bytes.fromhex(record.asked)) == (asked.action_id, asked.content)
    assert (entry.action_id, entry.content, entry.player_id) == (asked.action_id, asked.content, ADA)
    assert record.result == {"parcel_id": 1, "price": entry.result.price}  # type: ignore[attr-defined]


def test_what_is_no_record_is_no_entry() -> None:
    for record in (b"", b"{}", b"[1]", b'{"seq": 1}', b"\xff"):
        with pytest.raises(ValueError):  # noqa: PT011 (of many kinds)
            read(record)


def test_a_refusal_writes_nothing() -> None:
    world = settled()
    assert world.do(act(ADA, LandOpen(*ids(), 1, True, True))).entries == []
    assert (world.state.seq, world.state.digest) == (0, BEGINNING)
    assert not world.state.answers, "it may be asked again"


def test_ground_that_comes_later_has_its_gates() -> None:
    world = settled()
    world.do(act(ADA, LandClaim(*ids(), 64, 0, 16, 16)))
    world.do(act(ADA, LandOpen(*ids(), 1, False, False)))
    world.do(LoadChunk(2, 0, bytes([100]) * 1024))
    slots = {unpack(key): slot for key, slot in world.state.chunks.slot_of.items()}
    assert world.state.parcels.gates.closed[slots[2, 0]].tolist() == [[1, 0], [0, 0]]
