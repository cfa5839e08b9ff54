"""What a bid makes of an auction: one bid and how it stands then a line, and properties against a plain model of sealed maxima."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import Refusal, RefusalCode
from world.bidding import Standing, Terms, bid, buys_now, is_sold, least, may_buy_now, step

ADA, BEA, CAL = 1, 2, 3
NO = RefusalCode
ENDS = 1_000
TERMS = Terms(start_price=100, step_min=10, step_basis_points=500)
RESERVED = Terms(start_price=100, step_min=10, step_basis_points=0, reserve=300)
# who, amount, maximum -> refused, or leader and price
Row = tuple[int, int, int, tuple[int, int] | RefusalCode]

TABLES: dict[str, tuple[Terms, list[Row]]] = {
    "the first bid is the price": (
        TERMS,
        [
            (ADA, 99, 99, NO.TOO_LOW),
            (ADA, 100, 100, (ADA, 100)),
            (BEA, 109, 109, NO.TOO_LOW),
            (BEA, 110, 110, (BEA, 110)),
        ],
    ),
    "a maximum is used no further than it must be": (
        TERMS,
        [
            (ADA, 100, 500, (ADA, 100)),
            (BEA, 110, 110, (ADA, 120)),
            (BEA, 200, 300, (ADA, 315)),
            (CAL, 400, 600, (CAL, 525)),
        ],
    ),
    "the earlier of two alike leads, at all they would pay": (
        TERMS,
        [(ADA, 100, 500, (ADA, 100)), (BEA, 110, 500, (ADA, 500)), (BEA, 525, 525, (BEA, 525))],
    ),
    "the step is the larger of both": (
        TERMS,
        [
            (ADA, 1_000, 1_000, (ADA, 1_000)),
            (BEA, 1_049, 2_000, NO.TOO_LOW),
            (BEA, 1_050, 2_000, (BEA, 1_050)),
        ],
    ),
    "who leads raises the maximum and not the price": (
        TERMS,
        [
            (ADA, 100, 200, (ADA, 100)),
            (ADA, 100, 200, NO.TOO_LOW),
            (ADA, 300, 400, (ADA, 100)),
            (BEA, 110, 350, (ADA, 367)),
        ],
    ),
    "the price goes up to a reserve that somebody would pay": (
        RESERVED,
        [
            (ADA, 100, 250, (ADA, 100)),
            (BEA, 110, 260, (BEA, 260)),
            (ADA, 270, 400, (ADA, 300)),
            (BEA, 310, 320, (ADA, 330)),
        ],
    ),
    "and so does who leads below it and raises": (
        RESERVED,
        [(ADA, 100, 200, (ADA, 100)), (ADA, 100, 299, (ADA, 100)), (ADA, 100, 300, (ADA, 300))],
    ),
}


@pytest.mark.parametrize(("terms", "rows"), TABLES.values(), ids=TABLES)
def test_what_a_bid_makes_of_it(terms: Terms, rows: Iterable[Row]) -> None:
    standing = Standing(ENDS)
    for number, (who, amount, maximum, expected) in enumerate(rows, 1):
        came: tuple[int, int] | RefusalCode
        try:
            standing = bid(terms, standing, who, amount, maximum, 0)
            came = standing.leader_id, standing.price
        except Refusal as refusal:
            came = refusal.code
        assert came == expected, f"line {number}"


@pytest.mark.parametrize(
    ("tick", "ends"),
    [(0, ENDS), (ENDS - 21, ENDS), (ENDS - 20, ENDS), (ENDS - 5, ENDS + 15), (ENDS - 1, ENDS + 19)],
)
def test_a_late_bid_moves_the_end(tick: int, ends: int) -> None:
    terms = Terms(100, 10, 0, snipe_ticks=20, latest=ENDS + 30)
    assert bid(terms, Standing(ENDS), ADA, 100, 100, tick).ends == ends


def test_the_end_moves_to_the_latest_and_no_further_and_a_refused_bid_moves_nothing() -> None:
    terms = Terms(100, 10, 0, snipe_ticks=20, latest=ENDS + 25)
    standing = bid(terms, Standing(ENDS), ADA, 100, 100, ENDS - 1)
    with pytest.raises(Refusal):
        bid(terms, standing, BEA, 101, 101, standing.ends - 1)
    standing = bid(terms, standing, BEA, 110, 110, standing.ends - 1)
    assert standing.ends == ENDS + 25
    assert bid(terms, standing, ADA, 120, 120, standing.ends - 1).ends == ENDS + 25


def test_it_can_be_had_at_once_until_the_price_reaches_that() -> None:
    """Where the leader would pay as much already, only they have it at once, and nobody sees that before they try. Guard: buys_now."""
    terms = Terms(100, 10, 0, buy_now=500)
    standing = bid(terms, Standing(ENDS), ADA, 100, 499, 0)
    assert buys_now(terms, standing, BEA, 500)
    assert not buys_now(terms, standing, BEA, 499)
    raised = bid(terms, standing, ADA, 100, 700, 0)
    assert may_buy_now(terms, raised)
    assert (buys_now(terms, raised, BEA, 500), buys_now(terms, raised, ADA, 500)) == (False, True)
    beaten = bid(terms, raised, BEA, 500, 500, 0)
    assert (beaten.leader_id, beaten.price) == (ADA, 510)
    assert not may_buy_now(terms, beaten)
    assert not buys_now(terms, beaten, ADA, 600)


@pytest.mark.parametrize(("maximum", "ends"), [(250, ENDS), (300, ENDS + 19)])
def test_a_leader_who_reaches_the_reserve_moves_the_end_as_a_bid_does(maximum: int, ends: int) -> None:
    """Guard: _extended in _raised. Else nobody could answer the price that it makes."""
    terms = Terms(100, 10, 0, reserve=300, snipe_ticks=20, latest=2 * ENDS)
    standing = bid(terms, Standing(ENDS), ADA, 100, 200, 0)
    assert bid(terms, standing, ADA, 100, maximum, ENDS - 1).ends == ends


@given(st.integers(0, 900), st.integers(0, 900), st.none() | st.integers(1, 900), st.integers(1, 900))
def test_a_raise_that_leaves_the_price_tells_nobody_anything(
    first: int, more: int, reserve: int | None, buy_now: int
) -> None:
    """Guard: may_buy_now goes by the price. What everybody sees is the standing but for its maximum, and what follows from it."""
    terms = Terms(10, 10, 0, reserve=reserve, buy_now=buy_now, snipe_ticks=20, latest=2 * ENDS)
    try:
        standing = bid(terms, Standing(ENDS), ADA, 10, max(10, first), 0)
        raised = bid(terms, standing, ADA, 10, more, ENDS - 1)
    except Refusal:
        return
    if raised.price == standing.price:
        assert raised.looks_like(standing)
        shown = [
            (least(terms, one), may_buy_now(terms, one), is_sold(terms, one)) for one in (standing, raised)
        ]
        assert shown[0] == shown[1]


BIDS = st.lists(
    st.tuples(st.sampled_from((ADA, BEA, CAL)), st.integers(0, 900), st.integers(0, 900)), max_size=40
)


@given(BIDS, st.none() | st.integers(0, 900), st.integers(0, 50), st.integers(0, 2_000))
def test_the_highest_maximum_leads_and_pays_no_more_than_it_must(
    bids: list[tuple[int, int, int]], reserve: int | None, step_min: int, part: int
) -> None:
    """A plain model: everybody's highest accepted maximum, the earlier first. Prices only rise, and nobody pays above their maximum."""
    terms = Terms(50, step_min, part, reserve)
    standing, maxima = Standing(ENDS), dict[int, int]()
    for who, amount, more in bids:
        before = standing
        try:
            standing = bid(terms, standing, who, amount, amount + more, 0)
        except Refusal:
            assert standing == before
            continue
        maxima[who] = max(maxima.get(who, 0), amount + more)
        leader = max(maxima, key=lambda one: (maxima[one], one == before.leader_id))
        assert standing.leader_id == leader
        assert standing.maximum == maxima[leader]
        assert before.price <= standing.price <= standing.maximum
        others = max((worth for one, worth in maxima.items() if one != leader), default=0)
        assert standing.price >= others or standing.price == standing.maximum
        bound = max(
            others + step(terms, others),
            terms.start_price,
            amount if who == leader else 0,
            before.price,
            reserve or 0,
        )
        assert standing.price <= bound
        assert is_sold(terms, standing) is (standing.price >= (reserve or 0))
        assert least(terms, standing) > standing.price
