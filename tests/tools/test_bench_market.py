"""The bench of trades, as small as it gets: both sides do the same, and the books balance afterwards."""

import random

from tools.bench import market
from tools.bench.market import GRANT, PRICE, TRADERS
from world.ledger import HOUSE


def test_both_sides_trade() -> None:
    found = market.measure(400, 50, 0.2)
    assert found["endings"] == 50
    for name in market.WORKS:
        assert found[f"{name}_per_s"] > 0
        assert found[f"{name}_sql_per_s"] > 0
        assert found[f"{name}_ratio"] > 0


def test_a_trade_moves_money_land_and_the_sale() -> None:
    """Whatever is drawn: each parcel is for sale by who owns it, and the house has its fee of each purchase."""
    state = market.filled(30, 0)
    market._trade(state, random.Random(5), 22, 0.05)  # noqa: S311 (a sample)
    assert len(state.sales) == len(state.parcels) == 30
    for listing in state.sales:
        assert state.parcels.by_id[listing.parcel_id].owner_id == listing.seller_id
    trades = state.sales.sold_total
    assert trades >= market.BATCH
    assert state.ledger.balance(HOUSE) == trades * market.FEE.of(PRICE)
    assert sum(
        state.ledger.balance(one) for one in range(1, TRADERS + 1)
    ) == TRADERS * GRANT - state.ledger.balance(HOUSE)
