"""How settlers bid in auctions: who names a maximum at once and lets the server bid, who waits for the end, and who looks for a
bargain.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Any

WORTH = (5_000, 25_000)  # poisha: what a parcel is to somebody
BARGAIN = 0.4  # of that, who looks for one pays at most
SNIPE_MS = 5_000  # before its end who waits looks once more, and bids


class Temper(Enum):
    """How somebody bids."""

    PROXY = 0
    SNIPER = 1
    BARGAIN = 2


def bid_for(temper: Temper, auction: Mapping[str, Any], worth: int) -> tuple[int, int | None] | None:
    """The amount and the maximum that somebody bids to whom it is worth so much; None: nothing."""
    least: int = auction["least"]
    limit = int(worth * BARGAIN) if temper is Temper.BARGAIN else worth
    if least > limit:
        return None
    if auction["buy_now"] is not None and auction["buy_now"] <= limit:
        return auction["buy_now"], None
    return least, (limit if temper is Temper.PROXY else None)


def waits(temper: Temper, auction: Mapping[str, Any], world_ms: float) -> bool:
    """Whether it is too early for somebody."""
    return temper is Temper.SNIPER and bool(world_ms < auction["ends_ms"] - SNIPE_MS)
