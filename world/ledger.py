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

import msgspec

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


class Hold(msgspec.Struct, frozen=True, tag="hold", gc=False):
    """Money of an account that is set aside in ESCROW. `amount` 0: the hold is over, posted to somebody or voided."""

    hold_id: int  # the seq of the entry that made it; one entry makes one hold at most
    account: int
    amount: int
    why: str


class Breach(Exception):  # noqa: N818 (an invariant is broken; nothing a player did)
    """The books do not balance: a mistake of ours. Nothing more may be traded on them."""


class Ledger:
    """All balances and all holds."""

    def __init__(self) -> None:
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
                raise Refusal(RefusalCode.INSUFFICIENT_FUNDS, _too_little(balance - amount, -amount))
            after[account] = balance
            total += amount
            posts.append(Post(account, amount, balance))
        if total:
            raise Breach(f"postings sum to {total} poisha instead of 0")
        return posts

    def apply(self, change: Post | Hold) -> None:
        """Takes in what the journal says."""
        if isinstance(change, Post):
            self.balances[change.account] = change.balance
            return
        old = self.holds.pop(change.hold_id, None)
        held = self.held.pop(change.account, 0) - (old.amount if old else 0) + change.amount
        if change.amount:
            self.holds[change.hold_id] = change
        if held:
            self.held[change.account] = held

    def check(self) -> None:
        """Raises Breach unless nothing came from nothing."""
        for trouble in self.breaches():
            raise Breach(trouble)

    def breaches(self) -> Iterator[str]:
        """What does not balance, in words."""
        total = sum(self.balances.values())
        if total:
            yield f"all balances together are {total} poisha instead of 0"
        for account, balance in self.balances.items():
            if balance < 0 and not may_be_below_zero(account):
                yield f"account {account} holds {balance} poisha"
        held = sum(hold.amount for hold in self.holds.values())
        if held != self.balance(ESCROW):
            yield f"holds of {held} poisha against {self.balance(ESCROW)} in escrow"


def may_be_below_zero(account: int) -> bool:
    """Whether money comes into the world here."""
    return account == TREASURY or account <= GATEWAY


def in_words(poisha: int) -> str:
    """An amount for people."""
    taka, rest = divmod(poisha, POISHA_PER_TAKA)
    return f"{taka:,}.{rest:02} BDT" if rest else f"{taka:,} BDT"


def _too_little(there: int, wanted: int) -> str:
    return f"This costs {in_words(wanted)}, and there are {in_words(there)} in your wallet."
