"""Nothing from nothing: a breach closes the market, and nothing else."""

import pytest

from server import books as books_module
from server.books import CHECK_TICKS, Books
from tests.persistence.support import Chronicle, claim
from tests.world.support import ADA, BEA
from world.ledger import ESCROW, HOUSE, Hold, Ledger, Post
from world.state import State

START = 10_000  # a world that was stopped at this tick


@pytest.fixture
def state() -> State:
    told = Chronicle()
    told.do(ADA, claim(0, 0))
    told.do(BEA, claim(4, 4))
    told.set_aside(ADA, 200)
    told.world.state.tick = START
    return told.world.state


@pytest.fixture
def ledger(state: State) -> Ledger:
    return state.ledger


@pytest.fixture
def books(state: State) -> Books:
    """As they are after the start."""
    books = Books()
    assert books.balance(state)
    return books


BREACHES: dict[str, tuple[Post | Hold, str]] = {
    "money from nothing": (Post(ADA, 7, 10_007), "all balances together are"),
    "a wallet below zero": (Post(ADA, -20_000, -10_300), "account 1 holds -10300 poisha"),
    "a hold of nothing": (Hold(9, ADA, 50, "air"), "holds of 250 poisha against 200 in escrow"),
}


@pytest.mark.parametrize("what", BREACHES)
def test_a_breach_is_seen_in_the_tick_it_comes_with(books: Books, ledger: Ledger, what: str) -> None:
    """Guard: each of the sums that run along."""
    change, expected = BREACHES[what]
    ledger.apply(change)
    books.look(ledger, START + 1)
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
    books: Books, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guard: Ledger.checking, which adds up anew."""
    monkeypatch.setattr(books_module, "ACCOUNTS_AT_ONCE", 2)
    ledger.balances[HOUSE] += 1  # behind the running sums
    for tick in range(START + 1, START + CHECK_TICKS):
        books.look(ledger, tick)
    assert books.closed == ""
    slices = 3 + 1  # five accounts, one hold
    for tick in range(START + CHECK_TICKS, START + CHECK_TICKS + slices):
        books.look(ledger, tick)
        assert books.closed == ""
    books.look(ledger, START + CHECK_TICKS + slices)
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


def test_every_pass_is_counted_and_the_next_comes_in_time(books: Books, ledger: Ledger) -> None:
    for tick in range(START + 1, START + 3 * CHECK_TICKS):
        books.look(ledger, tick)
    assert books.checks_total == 1 + 2


def test_closed_stays_closed_and_says_the_first_reason(books: Books, state: State) -> None:
    """Guard: `not self.closed` in Books._close_for: at the stop all is added up once more."""
    ledger = state.ledger
    ledger.apply(Post(ESCROW, 5, 205))
    books.look(ledger, START + 1)
    why = books.closed
    ledger.apply(Post(ESCROW, -5, 200))
    books.look(ledger, START + 2)
    assert books.closed == why
    ledger.apply(Post(HOUSE, 7, ledger.balances[HOUSE] + 7))
    books.balance(state)
    assert books.closed == why
