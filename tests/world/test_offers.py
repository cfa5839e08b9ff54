"""Land for sale, and land to let, is found by how near it is."""

from collections.abc import Callable
from itertools import islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.messages import PARCELS_PAGE, WORLD_TILES_MAX, LandForSale, LandToLet, ParcelsFound
from tests.world.support import ADA, BEA, World, coordinates, ids
from world import offers as offers_module
from world import queries
from world.offers import Offers, Place
from world.parcels import Parcel, Terms
from world.queries import OFFERS_SHOWN_MAX

INSIDE = coordinates().filter(lambda at: at < WORLD_TILES_MAX)
PLACES = st.tuples(INSIDE, INSIDE)
Query = Callable[..., ParcelsFound]


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


ASKED: dict[str, tuple[Query, type[LandForSale | LandToLet], dict[str, Any]]] = {
    "for sale": (queries.land_for_sale, LandForSale, {"price": 1}),
    "to let": (queries.land_to_let, LandToLet, {"to_let": Terms(1, 0, 1_000, renewable=False)}),
}


@pytest.mark.parametrize(("query", "question", "offered"), ASKED.values(), ids=ASKED)
def test_pages_follow_each_other_and_end(
    query: Query, question: type[LandForSale | LandToLet], offered: dict[str, Any]
) -> None:
    """Guard: OFFERS_SHOWN_MAX; whoever pages on finds nothing more, and is told so."""
    world = World()
    for number in range(OFFERS_SHOWN_MAX + 9):
        world.state.parcels.put(Parcel(number + 1, ADA, "Ada", 2 * number, 0, 1, 1, **offered))

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
    for parcel_id in range(1, OFFERS_SHOWN_MAX + 9):
        world.state.parcels.free(parcel_id)
    assert [parcel.parcel_id for parcel in page(0).parcels] == [OFFERS_SHOWN_MAX + 9]
