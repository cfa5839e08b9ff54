"""Nothing from nothing, while the server runs: a breach closes the market.

    at the start   everything is added up, after what is stored came in and before the first tick: what is due by itself, and could
                   not be done on such books, waits then, too
    every tick     the sums that run along with the ledger are looked at
    every CHECK_TICKS   everything is added up anew, ACCOUNTS_AT_ONCE accounts a tick, of a copy of the balances
    at the stop    once more

Closed, it stays closed until the next start: what moves money or offers land is refused (actions.py), all else goes on. It is said in
the log, in /ready and in /metrics (`landworld_market_open`); `landworld audit` names what is wrong.
"""

from collections.abc import Iterator

import structlog

from world.leases import unheld
from world.ledger import Ledger
from world.state import State

CHECK_TICKS = 1_200  # a minute at 20 Hz
ACCOUNTS_AT_ONCE = 10_000  # some 0.1 ms; the copy takes some 7 ms for a million accounts

log = structlog.get_logger()


class Books:
    """Watches a world's money."""

    def __init__(self) -> None:
        self.closed = ""  # what does not balance; empty while everything does
        self.checks_total = 0  # how often everything was added up
        self._checking: Iterator[list[str]] | None = None
        self._next_tick = 0

    def look(self, ledger: Ledger, tick: int) -> None:
        """After each tick."""
        if self.closed:
            return
        troubles = ledger.breaches_now()
        if self._checking is None and tick >= self._next_tick:
            self._checking = ledger.checking(ACCOUNTS_AT_ONCE)
            self._next_tick = tick + CHECK_TICKS
        if self._checking is not None:
            troubles += self._step(self._checking)
        self._close_for(troubles)

    def balance(self, state: State) -> bool:
        """Adds up everything at once; whether it balances, and every deposit is there."""
        self.checks_total += 1
        self._next_tick = state.tick + CHECK_TICKS
        self._close_for([*state.ledger.breaches(), *unheld(state)])
        return not self.closed

    def _step(self, checking: Iterator[list[str]]) -> list[str]:
        troubles = next(checking, None)
        if troubles is None:
            self._checking = None
            self.checks_total += 1
        return troubles or []

    def _close_for(self, troubles: list[str]) -> None:
        if troubles and not self.closed:
            self.closed = troubles[0]
            log.error(
                "market_closed", troubles=troubles, advice="the books do not balance; run `landworld audit`"
            )
