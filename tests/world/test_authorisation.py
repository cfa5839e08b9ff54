"""Whatever three players ask for, in whatever order: each change of land, money and buildings was theirs to make.

Who may do what is written down once more here, as a reader of the protocol would, and looked at from outside: the world before and
after each act. Nothing here asks a rule.
"""

from dataclasses import dataclass
from typing import Self

import pytest
from hypothesis import given, settings
from msgspec.structs import replace

from protocol.messages import (
    LandAbandon,
    LandClaim,
    LandRent,
    LandTake,
    MarketBid,
    MarketBuy,
    MarketCancel,
    MarketList,
    Result,
    Role,
    Standing,
)
from tests.world.histories import ACTS, LAND, begun, settled
from tests.world.support import ADA, BEA, CAL, act, balanced, ids, outcome
from world.commands import Act, Settle
from world.entries import NOBODY
from world.grid import unpack
from world.parcels import Parcel
from world.sales import Auction, Listing, Sale
from world.state import State

PEOPLE = (ADA, BEA, CAL)
Tiles = dict[tuple[int, int], int]  # what stands on each tile where something stands


@dataclass
class Seen:
    """All there is of land and money."""

    parcels: dict[int, Parcel]
    sales: dict[int, Sale]
    tiles: Tiles
    money: dict[int, int]

    @classmethod
    def of(cls, state: State) -> Self:
        tiles = {}
        for key, surface in state.chunks.surfaces.items():
            cx, cy = unpack(key)
            for tile, kind in enumerate(surface.standing().ravel().tolist()):
                if kind:
                    tiles[cx * 32 + tile % 32, cy * 32 + tile // 32] = kind
        money = {who: state.ledger.balances.get(who, LAND.starting_grant) for who in PEOPLE}
        return cls(dict(state.parcels.by_id), dict(state.sales.by_id), tiles, money)

    def at(self, x: int, y: int) -> Parcel | None:
        """Whose land a tile is, plot by plot."""
        for one in self.parcels.values():
            if one.px <= x // 16 < one.px + one.pw and one.py <= y // 16 < one.py + one.ph:
                return one
        return None

    def sale_of(self, parcel_id: int) -> Sale | None:
        return next((one for one in self.sales.values() if one.parcel_id == parcel_id), None)

    def standing(self, parcel_id: int, who: int) -> Standing:
        one = self.parcels[parcel_id]
        if one.lease is not None and one.lease.tenant_id == who:
            return Standing.TENANT
        if (
            one.owner_id == who and one.lease is None
        ):  # who let it out has what everybody has, or what the tenant gives them
            return Standing.OWNER
        given = {permit.player_id: permit.standing for permit in one.permits}
        return given.get(who, Standing.NONE)


@settings(max_examples=200)
@given(ACTS)
def test_nobody_without_standing_changes_anything(acts: list[Act]) -> None:
    """Guards: owned and _managed in land.py, check_may_build in building.py, _mine in market.py, the price and the terms as seen."""
    world = settled()
    for asked in acts:
        before = Seen.of(world.state)
        events = world.do(asked)
        after = Seen.of(world.state)
        if not isinstance(outcome(events), Result):
            assert (before, events.entries) == (after, []), "a refusal changes nothing"
            continue
        (entry,) = events.entries
        assert entry.player_id == asked.player_id
        for parcel_id in before.parcels.keys() | after.parcels.keys():
            check_parcel(asked, before, after, parcel_id)
        check_sales(asked, before, after)
        for place in before.tiles.keys() | after.tiles.keys():
            check_tile(asked, before, after, place)
        check_money(asked, before, after)
        check_nobody_overlaps(after)
        balanced(world.state.ledger)
        assert {one.player_id for one in world.do(Settle(1)).entries} <= {NOBODY}


def _for_owners(parcel: Parcel) -> tuple[object, ...]:
    """What only an owner changes, or who buys."""
    return parcel.owner_id, parcel.given_to, parcel.rectangle, parcel.way


def check_parcel(asked: Act, before: Seen, after: Seen, parcel_id: int) -> None:
    """A change of a parcel was for the actor to make."""
    who, old, new = asked.player_id, before.parcels.get(parcel_id), after.parcels.get(parcel_id)
    if old == new:
        return
    if old is None:
        assert new is not None
        assert new.owner_id == who
        ground = [before.at(16 * px, 16 * py) for px, py in plots_of(new)]
        assert all(there is None or there.owner_id == who for there in ground), (
            "claimed, or part of one's own"
        )
        return
    mine = before.standing(parcel_id, who)
    if new is None:
        assert mine is Standing.OWNER
        return
    sale = before.sale_of(parcel_id)
    wanted = (
        isinstance(asked.request, MarketBuy)
        and isinstance(sale, Listing)
        and (sale.listing_id, sale.price) == (asked.request.listing_id, asked.request.price)
    )
    at_once = (
        isinstance(asked.request, MarketBid)
        and isinstance(sale, Auction)
        and sale.auction_id == asked.request.auction_id
        and asked.request.amount >= (sale.terms.buy_now or 10**15)
    )
    taken = isinstance(asked.request, LandTake) and old.given_to == who
    bought = (wanted or at_once or taken) and new.owner_id == who
    declined = old.given_to == who and new == replace(old, given_to=None, seq=new.seq)
    rented = isinstance(asked.request, LandRent) and old.to_let is not None and new.lease is not None
    if rented:
        assert old.to_let is not None
        assert new.lease is not None
        assert (old.lease, new.lease.tenant_id, new.owner_id) == (None, who, old.owner_id)
        assert old.to_let.rent == asked.request.rent  # type: ignore[union-attr]
    elif new.lease != old.lease:
        assert old.lease is not None
        assert new.lease == replace(old.lease, leaving=True)
        assert who in (old.owner_id, old.lease.tenant_id)
    if _for_owners(new) != _for_owners(old):
        assert bought or declined or mine is Standing.OWNER
    if new.to_let != old.to_let:
        assert bought or rented or mine is Standing.OWNER
    if (new.name, new.description, new.open_enter, new.open_build) != (
        old.name,
        old.description,
        old.open_enter,
        old.open_build,
    ):
        assert bought or mine >= Standing.MANAGER
    if new.permits != old.permits:
        assert bought or rented or mine >= Standing.MANAGER
        assert bought or rented or mine > Standing.MANAGER or managers(new) == managers(old)
    assert all(one.standing < Standing.TENANT and one.player_id != new.holder_id for one in new.permits)


def check_sales(asked: Act, before: Seen, after: Seen) -> None:
    """A sale was the actor's to begin, to change or to end, or it is sold; and what is in one stays as it is."""
    who = asked.player_id
    for listing_id in before.sales.keys() | after.sales.keys():
        old, new = before.sales.get(listing_id), after.sales.get(listing_id)
        if old is None or new is None:
            one = old or new
            assert one is not None
            assert isinstance(asked.request, MarketBuy | MarketBid) if who != one.seller_id else True
        elif old != new and isinstance(asked.request, MarketBid):
            assert who != new.seller_id
        elif old != new:
            assert who == old.seller_id == new.seller_id
        if new is not None:
            assert after.parcels[new.parcel_id].owner_id == new.seller_id
            now = after.parcels[new.parcel_id]
            was = now if old is None else before.parcels[new.parcel_id]
            assert (now.rectangle, now.way) == (was.rectangle, was.way)
            assert (now.to_let, now.lease, now.given_to) == (None, None, None)
    parcels = [one.parcel_id for one in after.sales.values()]
    assert len(parcels) == len(set(parcels)), "a parcel is in two sales"


def check_tile(asked: Act, before: Seen, after: Seen, place: tuple[int, int]) -> None:
    """A change of a tile was for the actor to make."""
    if before.tiles.get(place) == after.tiles.get(place) or asked.role is Role.ADMIN:
        return
    parcel = before.at(*place)
    assert parcel is not None, "nobody builds on nobody's land"
    standing = before.standing(parcel.parcel_id, asked.player_id)
    assert parcel.open_build or standing >= Standing.BUILDER


def check_money(asked: Act, before: Seen, after: Seen) -> None:
    """Only who acts pays, and only for a claim or a parcel."""
    auction = before.sales.get(getattr(asked.request, "auction_id", 0))
    for who in PEOPLE:
        if after.money[who] < before.money[who]:
            assert who == asked.player_id
            assert isinstance(asked.request, LandClaim | MarketBuy | LandRent | MarketBid)
        elif after.money[who] > before.money[who]:
            if isinstance(auction, Auction):  # who led, or who sells at once
                assert who in (auction.standing.leader_id, auction.seller_id)
            elif isinstance(asked.request, MarketBuy):
                assert before.sales[asked.request.listing_id].seller_id == who
            else:
                assert isinstance(asked.request, LandRent)
                assert before.parcels[asked.request.parcel_id].owner_id == who


def check_nobody_overlaps(seen: Seen) -> None:
    plots = [plot for one in seen.parcels.values() for plot in plots_of(one)]
    assert len(plots) == len(set(plots)), "two parcels on one plot"


def plots_of(one: Parcel) -> list[tuple[int, int]]:
    return [(px, py) for px in range(one.px, one.px + one.pw) for py in range(one.py, one.py + one.ph)]


def managers(one: Parcel) -> set[int]:
    return {permit.player_id for permit in one.permits if permit.standing is Standing.MANAGER}


@pytest.mark.parametrize("role", [Role.GUEST, Role.USER, Role.MODERATOR, Role.ADMIN])
def test_no_role_owns_what_others_own(role: Role) -> None:
    """Keeping the peace and running the server are no titles to land."""
    world = settled()
    for asked in begun():
        world.do(asked)
    before = Seen.of(world.state).parcels
    for request in (
        LandTake(*ids(), 1),
        MarketList(*ids(), 1, 70),
        MarketCancel(*ids(), 6),
        LandAbandon(*ids(), 1),
    ):
        assert not isinstance(outcome(world.do(act(CAL, request, role))), Result)
    assert Seen.of(world.state).parcels == before
