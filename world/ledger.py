"""Money: one ledger, double entry, whole poisha.

Accounts are numbers. A player's wallet is their player_id; what belongs to nobody who plays is below zero:

    TREASURY    where grants come from: as far below zero as money was given out
    HOUSE       what claims and fees brought in
    ESCROW      what is set aside in holds, until it is posted to somebody or voided
    GATEWAY     and below: what payment gateways brought in, one account each; as far below zero as that

Every entry's postings sum to zero, so all balances together are zero. Only the treasury and the gateways may be below zero. An account
begins with its first posting; a player's begins with the starting grant.

This file knows balances and holds; what a rule posts goes through the journal like any other change (entries.py).
"""

from collections.abc import Iterable, Iterator
from enum import StrEnum

import msgspec
from msgspec.structs import replace

from protocol.errors import Refusal, RefusalCode

TREASURY = -1
HOUSE = -2
ESCROW = -3
GATEWAY = -100
POISHA_PER_TAKA = 100


class Post(msgspec.Struct, frozen=True, tag="post", gc=False):
    """Money comes to an account, or leaves it (below zero). `balance` is what is there then."""

    account: int
    amount: int
    balance: int


class HoldState(StrEnum):
    """Whether a hold is over, and how; the entry that ends it has the postings."""

    PENDING = "pending"
    POSTED = "posted"  # spent: it went to others
    VOIDED = "voided"  # given back


class Hold(msgspec.Struct, frozen=True, tag="hold", gc=False):
    """Money of an account that is set aside in ESCROW; of one that is over, `amount` is 0."""

    hold_id: int  # the seq of the entry that made it; one entry makes one hold at most
    account: int
    amount: int
    why: str
    state: HoldState = HoldState.PENDING

    def over(self, state: HoldState) -> "Hold":
        """Its end."""
        return replace(self, amount=0, state=state)


class Breach(Exception):  # noqa: N818 (an invariant is broken; nothing a player did)
    """The books do not balance: a mistake of ours. Nothing more may be traded on them."""


class Ledger:
    """All balances and all holds.

    Three sums run along with every change, so that a look at each tick costs nothing (`breaches_now`); `checking` adds up everything
    anew, in steps, and does not believe them.
    """

    def __init__(self) -> None:
        self.total = 0  # all balances together
        self.set_aside = 0  # all holds together
        self.overdrawn: set[int] = set()  # accounts below zero that must not be
        self.balances: dict[int, int] = {}
        self.holds: dict[int, Hold] = {}
        self.held: dict[int, int] = {}  # by account, the sum of its holds; none where there are none

    def balance(self, account: int) -> int:
        """What is there."""
        return self.balances.get(account, 0)

    def posted(self, legs: Iterable[tuple[int, int]]) -> list[Post]:
        """The postings of (account, amount) legs, in order. Raises Refusal where a wallet holds too little, Breach otherwise."""
        posts: list[Post] = []
        after: dict[int, int] = {}
        total = 0
        for account, amount in legs:
            balance = after.get(account, self.balance(account)) + amount
            if balance < 0 and not may_be_below_zero(account):
                if account < 0:
                    raise Breach(f"account {account} would hold {balance} poisha")
                raise Refusal(RefusalCode.INSUFFICIENT_FUNDS, too_little(balance - amount, -amount))
            after[account] = balance
            total += amount
            posts.append(Post(account, amount, balance))
        if total:
            raise Breach(f"postings sum to {total} poisha instead of 0")
        return posts

    def recall(self, balances: Iterable[tuple[int, int]]) -> None:
        """Takes in (account, balance) pairs of before the start."""
        for account, balance in balances:
            self._set(account, balance)

    def apply(self, change: Post | Hold) -> None:
        """Takes in what the journal says."""
        if isinstance(change, Post):
            self._set(change.account, change.balance)
            return
        old = self.holds.pop(change.hold_id, None)
        more = change.amount - (old.amount if old else 0)
        self.set_aside += more
        held = self.held.pop(change.account, 0) + more
        if change.amount:
            self.holds[change.hold_id] = change
        if held:
            self.held[change.account] = held

    def _set(self, account: int, balance: int) -> None:
        self.total += balance - self.balances.get(account, 0)
        self.balances[account] = balance
        if balance < 0 and not may_be_below_zero(account):
            self.overdrawn.add(account)
        elif self.overdrawn:
            self.overdrawn.discard(account)

    def breaches_now(self) -> list[str]:
        """What does not balance by the sums that run along, in words."""
        troubles = [f"account {account} holds {self.balances[account]} poisha" for account in self.overdrawn]
        return [*troubles, *_sums(self.total, self.set_aside, self.balance(ESCROW))]

    def breaches(self) -> Iterator[str]:
        """What does not balance with everything looked at anew, in words."""
        for account, balance in self.balances.items():
            if balance < 0 and not may_be_below_zero(account):
                yield f"account {account} holds {balance} poisha"
        for troubles in self.checking(max(1, len(self.balances), len(self.holds))):
            yield from troubles

    def checking(self, at_once: int) -> Iterator[list[str]]:
        """Adds up everything anew, as it is at the first step: so many accounts or holds a step. The last tells what it finds wrong."""
        balances, holds = list(self.balances.values()), list(self.holds.values())
        escrow, total, held = self.balance(ESCROW), 0, 0
        for start in range(0, len(balances), at_once):
            total += sum(balances[start : start + at_once])
            yield []
        for start in range(0, len(holds), at_once):
            held += sum(hold.amount for hold in holds[start : start + at_once])
            yield []
        yield list(_sums(total, held, escrow))


def _sums(total: int, held: int, escrow: int) -> Iterator[str]:
    if total:
        yield f"all balances together are {total} poisha instead of 0"
    if held != escrow:
        yield f"holds of {held} poisha against {escrow} in escrow"


def may_be_below_zero(account: int) -> bool:
    """Whether money comes into the world here."""
    return account == TREASURY or account <= GATEWAY


def in_words(poisha: int) -> str:
    """An amount for people."""
    taka, rest = divmod(poisha, POISHA_PER_TAKA)
    return f"{taka:,}.{rest:02} BDT" if rest else f"{taka:,} BDT"


def too_little(there: int, wanted: int) -> str:
    """Why something cannot be paid."""
    return f"This costs {in_words(wanted)}, and there are {in_words(there)} in your wallet."
