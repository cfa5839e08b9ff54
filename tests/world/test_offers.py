"""Land for sale, and land to let, is found by how near it is."""

from collections.abc import Callable
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from protocol.messages import PARCELS_PAGE, WORLD_TILES_MAX, LandForSale, LandToLet, ParcelsFound, SaleEnd
from tests.world.support import ADA, BEA, World, coordinates, ids
from world import offers as offers_module
from world import queries
from world.offers import Offers, Place
from world.parcels import Parcel, Terms
from world.queries import OFFERS_SHOWN_MAX
from world.sales import FeeTerms, Inspection, Listing
from world.state import State

INSIDE = coordinates().filter(lambda at: at < WORLD_TILES_MAX)
PLACES = st.tuples(INSIDE, INSIDE)
Query = Callable[..., ParcelsFound]
Offer = Callable[[State, Parcel], Callable[[], None]]


def by_distance(places: dict[int, tuple[float, float]], x: float, y: float) -> list[int]:
    return sorted(places, key=lambda one: ((places[one][0] - x) ** 2 + (places[one][1] - y) ** 2, one))


@given(st.lists(st.tuples(st.integers(1, 20), st.none() | PLACES)), PLACES)
def test_the_nearest_come_first_whatever_came_and_went(
    changes: list[tuple[int, tuple[float, float] | None]], here: tuple[float, float]
) -> None:
    """Guards: the order of Offers.nearest; that empty squares are closed."""
    offers, places = Offers(), dict[int, tuple[float, float]]()
    for parcel_id, place in changes:
        if place is None:
            offers.remove(parcel_id)
            places.pop(parcel_id, None)
        else:
            offers.put(parcel_id, place)
            places[parcel_id] = place
    assert list(offers.nearest(here)) == by_distance(places, *here)
    assert set(offers) == set(places)
    for parcel_id in places:
        offers.remove(parcel_id)
    assert not offers._squares
    assert not offers._parcels


def test_what_is_far_away_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guard: Offers.nearest is lazy: of 4,096 offers in as many squares few are measured for the nearest 64."""
    offers = Offers()
    for number in range(4_096):
        offers.put(number + 1, (256.0 * (number % 64), 256.0 * (number // 64)))
    measured = 0
    squared = offers_module._squared

    def counted(one: Place, other: Place) -> float:
        nonlocal measured
        measured += 1
        return squared(one, other)

    monkeypatch.setattr(offers_module, "_squared", counted)
    assert len(list(islice(offers.nearest((4_000.0, 4_000.0)), 64))) == 64
    assert measured < 1_024


def sell(state: State, parcel: Parcel) -> Callable[[], None]:
    """Puts a parcel up for sale; returns what takes it off the market."""
    as_it_is = Inspection(b"", 0, 0)
    listing = Listing(
        parcel.parcel_id,
        parcel.parcel_id,
        ADA,
        1,
        False,
        FeeTerms(0, 0),
        as_it_is,
        None,
        parcel.parcel_id,
        parcel.parcel_id,
    )
    state.parcels.put(parcel)
    state.sales.put(listing, parcel.middle)
    return lambda: state.sales.put(listing.over(SaleEnd.CANCELLED, 0), parcel.middle)


def let(state: State, parcel: Parcel) -> Callable[[], None]:
    """To let, likewise."""
    state.parcels.put(replace(parcel, to_let=Terms(1, 0, 1_000, renewable=False)))

    def over() -> None:
        state.parcels.put(parcel)

    return over


ASKED: dict[str, tuple[Query, type[LandForSale | LandToLet], Offer]] = {
    "for sale": (queries.land_for_sale, LandForSale, sell),
    "to let": (queries.land_to_let, LandToLet, let),
}


@pytest.mark.parametrize(("query", "question", "offer"), ASKED.values(), ids=ASKED)
def test_pages_follow_each_other_and_end(
    query: Query, question: type[LandForSale | LandToLet], offer: Offer
) -> None:
    """Guard: OFFERS_SHOWN_MAX; whoever pages on finds nothing more, and is told so."""
    world = World()
    over = [
        offer(world.state, Parcel(number + 1, ADA, "Ada", 2 * number, 0, 1, 1))
        for number in range(OFFERS_SHOWN_MAX + 9)
    ]

    def page(skip: int) -> ParcelsFound:
        return query(world.state, BEA, question(ids()[0], skip))

    pages = [page(0)]
    while pages[-1].more:
        pages.append(page(PARCELS_PAGE * len(pages)))
    assert [parcel.parcel_id for page in pages for parcel in page.parcels] == list(
        range(1, OFFERS_SHOWN_MAX + 1)
    )
    assert len(pages) == OFFERS_SHOWN_MAX // PARCELS_PAGE
    assert page(2**32 - 1).parcels == []
    for end in over[:-1]:
        end()
    assert [parcel.parcel_id for parcel in page(0).parcels] == [OFFERS_SHOWN_MAX + 9]
