"""Money as tables: postings and what comes of them; holds; and what the books say when they do not balance."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import Refusal, RefusalCode
from tests.world.support import balanced
from world.ledger import (
    ESCROW,
    GATEWAY,
    HOUSE,
    TREASURY,
    Breach,
    Hold,
    HoldState,
    Ledger,
    Post,
    in_words,
    may_be_below_zero,
)

ADA, BEA = 1, 2
Legs = list[tuple[int, int]]


def having(ada: int, bea: int = 0, held: int = 0) -> Ledger:
    """A ledger in which players have money, and so much more of Ada's is set aside; the treasury gave it."""
    ledger = Ledger()
    ledger.balances = {ADA: ada, BEA: bea, ESCROW: held, TREASURY: -ada - bea - held}
    ledger.apply(Hold(1, ADA, held, "bid"))
    balanced(ledger)
    return ledger


@pytest.mark.parametrize(
    ("legs", "balances"),
    [
        ([], []),
        ([(ADA, -100), (HOUSE, 100)], [0, 100]),
        ([(ADA, -60), (HOUSE, 60), (ADA, -40), (HOUSE, 40)], [40, 60, 0, 100]),
        ([(BEA, 0), (HOUSE, 0)], [0, 0]),
        ([(TREASURY, -500), (BEA, 500), (BEA, -500), (HOUSE, 500)], [-600, 500, 0, 500]),
        ([(GATEWAY, -7), (ADA, 7)], [-7, 107]),
        ([(GATEWAY - 5, -7), (ADA, 7)], [-7, 107]),
    ],
)
def test_postings_carry_the_balance_that_they_make(legs: Legs, balances: list[int]) -> None:
    ledger = having(ada=100)
    posts = ledger.posted(legs)
    assert posts == [Post(*leg, balance) for leg, balance in zip(legs, balances, strict=True)]
    assert ledger.balances == having(ada=100).balances, "a posting is a wish until it is applied"
    for post in posts:
        ledger.apply(post)
    balanced(ledger)


@pytest.mark.parametrize(
    "legs",
    [
        [(ADA, -101), (HOUSE, 101)],
        [(ADA, -60), (HOUSE, 60), (ADA, -41), (HOUSE, 41)],
        [(BEA, -1), (HOUSE, 1)],
        [(BEA, -1), (HOUSE, 1), (ADA, -1), (BEA, 1)],
    ],
)
def test_a_wallet_is_never_overdrawn_in_between_either(legs: Legs) -> None:
    """Guard: Ledger.posted looks at each balance."""
    with pytest.raises(Refusal) as refused:
        having(ada=100).posted(legs)
    assert refused.value.code is RefusalCode.INSUFFICIENT_FUNDS


def test_who_has_too_little_is_told_how_much_is_there() -> None:
    with pytest.raises(Refusal, match=r"costs 1,234\.50 BDT, and there are 0\.99 BDT"):
        having(ada=99).posted([(ADA, -123_450), (HOUSE, 123_450)])


@pytest.mark.parametrize(
    ("legs", "trouble"),
    [
        ([(ADA, -1)], "sum to -1"),
        ([(ADA, -50), (HOUSE, 49)], "sum to -1"),
        ([(TREASURY, -1), (ADA, 2)], "sum to 1"),
        ([(HOUSE, -1), (ADA, 1)], "account -2 would hold -1"),
        ([(ESCROW, -31), (ADA, 31)], "account -3 would hold -1"),
    ],
)
def test_what_no_player_can_cause_is_a_breach(legs: Legs, trouble: str) -> None:
    """Guards: the sum and the accounts of nobody in Ledger.posted."""
    with pytest.raises(Breach, match=trouble):
        having(ada=100, held=30).posted(legs)


def test_a_hold_is_set_aside_changed_and_over() -> None:
    ledger = having(ada=100, bea=50)
    rows: list[tuple[list[Post | Hold], dict[int, int]]] = [
        ([*ledger.posted([(ADA, -30), (ESCROW, 30)]), Hold(7, ADA, 30, "bid")], {ADA: 30}),
        ([Post(ADA, -20, 50), Post(ESCROW, 20, 50), Hold(8, ADA, 20, "bid")], {ADA: 50}),
        ([Post(BEA, -5, 45), Post(ESCROW, 5, 55), Hold(9, BEA, 5, "offer")], {ADA: 50, BEA: 5}),
        ([Post(ESCROW, -10, 45), Post(HOUSE, 10, 10), Hold(7, ADA, 20, "bid")], {ADA: 40, BEA: 5}),
        (
            [Post(ESCROW, -20, 25), Post(BEA, 20, 65), Hold(7, ADA, 20, "bid").over(HoldState.POSTED)],
            {ADA: 20, BEA: 5},
        ),
        ([Post(ESCROW, -20, 5), Post(ADA, 20, 70), Hold(8, ADA, 20, "bid").over(HoldState.VOIDED)], {BEA: 5}),
        ([Hold(99, ADA, 0, "nothing was held")], {BEA: 5}),
    ]
    for number, (changes, held) in enumerate(rows, 1):
        for change in changes:
            ledger.apply(change)
        balanced(ledger)
        assert ledger.held == held, f"line {number}"
        assert {
            account: sum(hold.amount for hold in ledger.holds.values() if hold.account == account)
            for account in held
        } == held


@pytest.mark.parametrize(
    ("balances", "holds", "trouble"),
    [
        ({ADA: 1}, [], "together are 1 poisha"),
        ({TREASURY: -5, ADA: 4}, [], "together are -1 poisha"),
        ({ADA: -5, BEA: 5}, [], "account 1 holds -5"),
        ({HOUSE: -5, BEA: 5}, [], "account -2 holds -5"),
        ({TREASURY: -5, ESCROW: 5}, [], "holds of 0 poisha against 5"),
        ({TREASURY: -5, ESCROW: 5}, [Hold(1, ADA, 4, "")], "holds of 4 poisha against 5"),
        ({}, [Hold(1, ADA, 4, "")], "holds of 4 poisha against 0"),
    ],
)
def test_books_that_do_not_balance_say_so(
    balances: dict[int, int], holds: Iterable[Hold], trouble: str
) -> None:
    """Guards: each line of Ledger.breaches."""
    ledger = Ledger()
    ledger.balances = balances
    for hold in holds:
        ledger.apply(hold)
    assert [one for one in ledger.breaches() if trouble in one]


def test_only_where_money_comes_into_the_world_may_be_below_zero() -> None:
    below = {account for account in range(GATEWAY - 3, 5) if may_be_below_zero(account)}
    assert below == {TREASURY, GATEWAY, GATEWAY - 1, GATEWAY - 2, GATEWAY - 3}


@pytest.mark.parametrize(
    ("poisha", "words"),
    [(0, "0 BDT"), (5, "0.05 BDT"), (100, "1 BDT"), (123_456_700, "1,234,567 BDT"), (150, "1.50 BDT")],
)
def test_amounts_for_people(poisha: int, words: str) -> None:
    assert in_words(poisha) == words


ACCOUNTS = st.sampled_from((TREASURY, HOUSE, ESCROW, GATEWAY, ADA, BEA))
TRANSFER = st.tuples(ACCOUNTS, ACCOUNTS, st.integers(0, 500))


@given(st.lists(st.lists(TRANSFER, max_size=4), max_size=30))
def test_whatever_is_posted_nothing_comes_from_nothing(entries: list[list[tuple[int, int, int]]]) -> None:
    """What is refused changes nothing; what is not leaves the books in balance. Escrow is left out of sight: it has no holds here."""
    ledger = Ledger()
    for transfers in entries:
        legs = [leg for source, target, amount in transfers for leg in ((source, -amount), (target, amount))]
        before = dict(ledger.balances)
        try:
            posts = ledger.posted(legs)
        except (Refusal, Breach):
            assert ledger.balances == before
            continue
        for post in posts:
            ledger.apply(post)
        troubles = [trouble for trouble in ledger.breaches() if "escrow" not in trouble]
        assert troubles == []
