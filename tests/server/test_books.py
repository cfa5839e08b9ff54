"""Nothing from nothing: a breach closes the market, and nothing else."""

import pytest

from server import books as books_module
from server.books import CHECK_TICKS, Books
from tests.persistence.support import Chronicle, claim
from tests.world.support import ADA, BEA
from world.ledger import ESCROW, HOUSE, Hold, Ledger, Post


@pytest.fixture
def ledger() -> Ledger:
    told = Chronicle()
    told.do(ADA, claim(0, 0))
    told.do(BEA, claim(4, 4))
    told.set_aside(ADA, 200)
    return told.world.state.ledger


def started(ledger: Ledger) -> Books:
    books = Books()
    books.look(ledger, 1)
    assert books.closed == ""
    return books


def test_the_first_look_adds_up_everything(ledger: Ledger) -> None:
    """Guard: Books.look begins with a whole check. What was stored wrong is found before anybody acts on it."""
    books = Books()
    ledger.balances[ADA] = 5  # behind the running sums
    books.look(ledger, 1)
    assert books.closed.startswith("all balances together are")


BREACHES: dict[str, tuple[Post | Hold, str]] = {
    "money from nothing": (Post(ADA, 7, 10_007), "all balances together are"),
    "a wallet below zero": (Post(ADA, -20_000, -10_300), "account 1 holds -10300 poisha"),
    "a hold of nothing": (Hold(9, ADA, 50, "air"), "holds of 250 poisha against 200 in escrow"),
}


@pytest.mark.parametrize("what", BREACHES)
def test_a_breach_is_seen_in_the_tick_it_comes_with(ledger: Ledger, what: str) -> None:
    """Guard: each of the sums that run along."""
    change, expected = BREACHES[what]
    books = started(ledger)
    ledger.apply(change)
    books.look(ledger, 2)
    assert books.closed.startswith(expected)


def test_the_running_sums_are_those_of_everything(ledger: Ledger) -> None:
    assert (ledger.total, ledger.set_aside, ledger.overdrawn) == (0, 200, set())
    ledger.apply(Post(BEA, -99_999, -1))
    assert ledger.overdrawn == {BEA}
    ledger.apply(Post(BEA, 2, 1))
    assert ledger.overdrawn == set()
    ledger.apply(Hold(3, ADA, 0, ""))
    assert (ledger.set_aside, ledger.total) == (0, sum(ledger.balances.values()))
    again = Ledger()
    again.recall(ledger.balances.items())
    assert again.total == ledger.total


def test_what_the_running_sums_miss_is_found_within_a_minute_slice_by_slice(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guard: Ledger.checking, which adds up anew."""
    monkeypatch.setattr(books_module, "ACCOUNTS_AT_ONCE", 2)
    books = started(ledger)
    ledger.balances[HOUSE] += 1  # behind the running sums
    for tick in range(2, 1 + CHECK_TICKS):
        books.look(ledger, tick)
    assert books.closed == ""
    slices = 3 + 1  # five accounts, one hold
    for tick in range(1 + CHECK_TICKS, 1 + CHECK_TICKS + slices):
        books.look(ledger, tick)
        assert books.closed == ""
    books.look(ledger, 1 + CHECK_TICKS + slices)
    assert books.closed.startswith("all balances together are 1 poisha")


def test_a_check_in_slices_is_of_one_moment(ledger: Ledger) -> None:
    """Guard: the copy in Ledger.checking. Money that moves between two slices would be counted twice or not at all."""
    checking = ledger.checking(1)
    found = list(next(checking))
    for post in ledger.posted([(ADA, -100), (HOUSE, 100)]):
        ledger.apply(post)
    ledger.apply(Post(77, 0, 0))
    for troubles in checking:
        found += troubles
    assert found == []


def test_every_pass_is_counted_and_the_next_comes_in_time(ledger: Ledger) -> None:
    books = started(ledger)
    for tick in range(2, 3 * CHECK_TICKS + 2):
        books.look(ledger, tick)
    assert books.checks_total == 1 + 2


def test_closed_stays_closed_and_says_the_first_reason(ledger: Ledger) -> None:
    books = started(ledger)
    ledger.apply(Post(ESCROW, 5, 205))
    books.look(ledger, 2)
    why = books.closed
    ledger.apply(Post(ESCROW, -5, 200))
    books.look(ledger, 3)
    assert books.closed == why
    assert not books.balance(ledger)
