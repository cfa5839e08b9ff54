"""English auctions with proxy bids: what a bid makes of an auction. No money, no land and no world here; auctions.py has those.

A bid is what somebody would pay now (`amount`) and, known to nobody else, what they would pay at most (`maximum`). The price is what
the leader would have to pay: the least that beats everybody else, and never more than the leader's maximum. Of two with the same
maximum the earlier leads. A reserve is reached as soon as somebody's maximum reaches it, and the price goes up to it.

Ends and extensions are ticks. A bid that is accepted within `snipe_ticks` of the end moves it to so many ticks from then on, until
`latest`; one that is refused moves nothing, nor does a leader's maximum that leaves the price as it is.
"""

import msgspec
from msgspec.structs import replace

from protocol.errors import Refusal, RefusalCode
from protocol.messages import BASIS_POINTS
from world.ledger import in_words

NOBODY = 0


class Terms(msgspec.Struct, frozen=True, gc=False):
    """What an auction is made under; none of it changes while it runs."""

    start_price: int
    step_min: int  # poisha, above the price
    step_basis_points: int  # of the price; the larger of the two counts
    reserve: int | None = None  # for less it is not sold
    buy_now: int | None = None  # at once for this, until somebody would pay as much
    snipe_ticks: int = 0
    latest: int = 0  # no extension ends later


class Standing(msgspec.Struct, frozen=True, gc=False):
    """How it stands: who leads, at which price, up to which maximum, and when it ends."""

    ends: int
    price: int = 0
    leader_id: int = NOBODY
    maximum: int = 0
    bids: int = 0

    @property
    def has_bids(self) -> bool:
        """Whether anybody leads."""
        return self.leader_id != NOBODY

    def looks_like(self, other: "Standing") -> bool:
        """Whether they are the same but for the maximum, which nobody else may know."""
        return replace(self, maximum=other.maximum) == other


def least(terms: Terms, standing: Standing) -> int:
    """The lowest amount that is taken."""
    if not standing.has_bids:
        return max(1, terms.start_price)
    return standing.price + step(terms, standing.price)


def step(terms: Terms, price: int) -> int:
    """How much a bid must be above a price."""
    return max(1, terms.step_min, price * terms.step_basis_points // BASIS_POINTS)


def may_buy_now(terms: Terms, standing: Standing) -> bool:
    """Whether it can still be had at once, as far as everybody may know: the price is below that."""
    return terms.buy_now is not None and standing.price < terms.buy_now


def buys_now(terms: Terms, standing: Standing, player_id: int, amount: int) -> bool:
    """Whether a bid has it at once. Where somebody else would pay as much already, it is a bid like any other."""
    if terms.buy_now is None or amount < terms.buy_now or not may_buy_now(terms, standing):
        return False
    return standing.leader_id == player_id or standing.maximum < terms.buy_now


def is_sold(terms: Terms, standing: Standing) -> bool:
    """Whether the leader gets it if it ends like that."""
    return standing.has_bids and standing.price >= (terms.reserve or 0)


def bid(terms: Terms, standing: Standing, player_id: int, amount: int, maximum: int, tick: int) -> Standing:
    """What a bid makes of it. Raises Refusal; what it says tells nothing of anybody's maximum."""
    if player_id == standing.leader_id:
        return _raised(terms, standing, maximum, tick)
    wanted = least(terms, standing)
    if amount < wanted:
        raise Refusal(RefusalCode.TOO_LOW, f"The next bid is {in_words(wanted)} at least.")
    after = _taken(terms, standing, player_id, amount, maximum)
    return replace(after, bids=standing.bids + 1, ends=_extended(terms, standing.ends, tick))


def _raised(terms: Terms, standing: Standing, maximum: int, tick: int) -> Standing:
    """The leader would pay more; against nobody, so the price stays, unless it is below the reserve that the new maximum reaches."""
    if maximum <= standing.maximum:
        text = f"You lead, up to {in_words(standing.maximum)}; a maximum can only be raised."
        raise Refusal(RefusalCode.TOO_LOW, text)
    price = _reaching(terms, standing.price, maximum)
    ends = standing.ends if price == standing.price else _extended(terms, standing.ends, tick)
    return replace(standing, maximum=maximum, price=price, ends=ends)


def _taken(terms: Terms, standing: Standing, player_id: int, amount: int, maximum: int) -> Standing:
    if not standing.has_bids or maximum > standing.maximum:
        beaten = standing.maximum + step(terms, standing.maximum) if standing.has_bids else amount
        price = _reaching(terms, max(amount, min(maximum, beaten)), maximum)
        return replace(standing, leader_id=player_id, maximum=maximum, price=price)
    defended = min(standing.maximum, maximum + step(terms, maximum))
    return replace(standing, price=_reaching(terms, defended, standing.maximum))


def _reaching(terms: Terms, price: int, maximum: int) -> int:
    """The price, or the reserve if the maximum reaches that."""
    return max(price, terms.reserve) if terms.reserve is not None and maximum >= terms.reserve else price


def _extended(terms: Terms, ends: int, tick: int) -> int:
    """The end after a bid at `tick`."""
    if tick < ends - terms.snipe_ticks:
        return ends
    return max(ends, min(tick + terms.snipe_ticks, terms.latest))
