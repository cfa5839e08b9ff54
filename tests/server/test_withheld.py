"""What waits for the disk: until its entry is stored, nobody is told of it, in whatever form."""

from dataclasses import replace
from typing import Any

from protocol import codec
from protocol.errors import RefusalCode
from protocol.messages import (
    Cut,
    EntryDenied,
    LandAbandon,
    LandChanged,
    LandClaim,
    LandClaimed,
    LandLet,
    LandOpen,
    LandRent,
    LandSplit,
    LandTake,
    LandTransfer,
    ListingChanged,
    ListingEnded,
    ListingOpened,
    MarketBuy,
    MarketCancel,
    MarketEdit,
    MarketList,
    Ok,
    Refused,
    SaleEnd,
    WalletChanged,
)
from server.frames import TickFrame, encode
from server.withheld import Withheld
from tests.world.support import ADA, BEA, CAL, RULES, Done, World, act, ids, join
from world.grid import pack
from world.state import LandRules


class Told:
    """A world, what it withholds, and what is told of it once the journal is stored up to somewhere."""

    def __init__(self) -> None:
        self.world = World(rules=replace(RULES, land=LandRules(starting_grant=1_000)))
        self.withheld = Withheld()

    def tick(self, events: Done, durable_seq: int) -> list[Any]:
        """The messages of one tick's frame about land."""
        frame = encode(self.world.state, events, events.edited, 0)
        self.withheld.deny(self.world.state, events.denied)
        self.withheld.take(self.world.state, events.acted)
        return self.told(durable_seq, frame)

    def told(self, durable_seq: int, frame: TickFrame | None = None) -> list[Any]:
        """The same of a tick in which nothing happens."""
        frame = frame or TickFrame(0, 0)
        self.withheld.release(durable_seq, frame)
        messages = [
            *(one[2] for one in frame.answers),
            *(one[0] for one in frame.heard),
            *(one[1] for one in frame.casts),
        ]
        return [codec.decode_server(message)[0] for message in messages]


def claim() -> LandClaim:
    return LandClaim(*ids(), 0, 0, 16, 16)


def test_an_answer_and_its_news_wait_for_their_entry() -> None:
    town = Told()
    assert town.tick(town.world.do(act(ADA, claim())), 0) == []
    answer, news = town.told(1)
    assert isinstance(answer, Ok)
    assert isinstance(news, LandClaimed)
    assert answer.seq == 1
    assert len(town.withheld) == 0


def test_a_refusal_waits_for_what_it_tells_of() -> None:
    """Who came too late hears who was first, and that may still be lost. Guard: the seq of a refused Reply."""
    town = Told()
    town.tick(town.world.do(act(ADA, claim())), 0)
    assert town.tick(town.world.do(act(BEA, claim())), 0) == []
    refused = [one for one in town.told(1) if isinstance(one, Refused)]
    assert [one.code for one in refused] == [RefusalCode.TAKEN]


def test_a_refusal_that_nothing_waits_for_is_told_in_its_tick() -> None:
    town = Told()
    town.tick(town.world.do(act(ADA, claim())), 0)
    town.told(1)
    (refused,) = town.tick(town.world.do(act(BEA, claim())), 1)
    assert isinstance(refused, Refused)


def test_why_somebody_was_stopped_waits_for_the_entry_that_closed_the_land() -> None:
    """Guard: Withheld.take, which gives the denial the newest seq."""
    town = Told()
    town.tick(town.world.do(act(ADA, claim())), 0)
    events = town.world.do(act(ADA, LandOpen(*ids(), 1, False, False)))
    events.denied.append((BEA, 1))
    assert [type(one) for one in town.tick(events, 1)] == [Ok, LandClaimed]
    assert EntryDenied in [type(one) for one in town.told(2)]


def test_who_is_stopped_again_and_again_hears_the_newest_once() -> None:
    """Guard: Withheld._denied has one place for each player; and who is stopped at one parcel all the time is told in its turn."""
    town = Told()
    town.tick(town.world.do(act(ADA, claim()), act(ADA, LandClaim(*ids(), 64, 0, 16, 16))), 0)
    for parcel_id in (1, 2, 2, 1, 2):
        events = town.world.do()
        events.denied += [(BEA, parcel_id), (CAL, 1)]
        town.tick(events, 1)
    assert len(town.withheld._denied) == 2
    heard = TickFrame(0, 0)
    town.withheld.release(2, heard)
    denied = [(codec.decode_server(message)[0], to) for message, to in heard.heard]
    told = [(said.parcel_id, to) for said, to in denied if isinstance(said, EntryDenied)]
    assert sorted(told) == [(1, [CAL]), (2, [BEA])]


def test_an_answer_that_was_taken_back_is_not_told() -> None:
    """Guard: Later.over."""
    town, frame = Told(), TickFrame(0, 0)
    kept, back = (town.withheld.later(1, ADA, 7, message) for message in (b"kept", b"back"))
    back.over = True
    town.withheld.release(1, frame)
    assert frame.answers == [(ADA, 7, b"kept")]
    assert kept.over


def test_the_wallet_is_told_as_it_was_after_each_entry() -> None:
    """Guard: Entry.held. Two leases with deposits in one tick: the first leaves only its own deposit set aside."""
    town = Told()
    town.tick(town.world.do(act(ADA, claim()), act(ADA, LandClaim(*ids(), 64, 0, 16, 16))), 2)
    lets = [act(ADA, LandLet(*ids(), parcel_id, 10, 50, 100, False)) for parcel_id in (1, 2)]
    rents = [act(CAL, LandRent(*ids(), parcel_id, 10)) for parcel_id in (1, 2)]
    town.world.do(join(CAL))
    town.tick(town.world.do(*lets, *rents), 4)
    told = [town.told(seq) for seq in (5, 6)]
    wallets = [one for messages in told for one in messages if isinstance(one, WalletChanged)]
    assert [(one.balance, one.held, one.seq) for one in wallets] == [(890, 100, 5), (780, 200, 6)]


def test_whom_land_is_given_is_told_wherever_they_are_and_only_once_it_is_stored() -> None:
    """They would not know that there is something to take. Guard: `given_to` in _add_news."""
    town = Told()
    town.world.do(join(BEA, 900.0, 900.0))
    town.tick(town.world.do(act(ADA, claim())), 0)
    town.told(1)
    events = town.world.do(act(ADA, LandTransfer(*ids(), 1, BEA)))
    frame = encode(town.world.state, events, events.edited, 0)
    town.withheld.take(town.world.state, events.acted)
    town.withheld.release(1, frame)
    assert frame.heard == []
    town.withheld.release(2, frame)
    ((message, players),) = frame.heard
    (changed,) = codec.decode_server(message)
    assert players == [BEA]
    assert isinstance(changed, LandChanged)
    assert (changed.parcel.owner_id, changed.parcel.given_to) == (ADA, BEA)


def test_who_sees_one_part_of_divided_land_hears_of_both() -> None:
    """They would go on to see the first over all of it. Guard: the cells of all parcels in _add_news."""
    town = Told()
    town.tick(town.world.do(act(ADA, LandClaim(*ids(), 0, 0, 64, 16))), 1)
    events, frame = town.world.do(act(ADA, LandSplit(*ids(), 1, Cut.VERTICAL, 32))), TickFrame(0, 0)
    town.withheld.take(town.world.state, events.acted)
    town.withheld.release(2, frame)
    assert [cells for cells, _ in frame.casts] == [[pack(0, 0), pack(1, 0)]] * 2


def test_whose_land_somebody_else_takes_or_declines_is_told_wherever_they_are() -> None:
    """Guards: the seller and the owner in _others. They would go on to show land that is theirs no more, or a gift that waits."""
    town = Told()
    town.world.do(join(ADA, 900.0, 900.0))
    town.tick(town.world.do(act(ADA, claim())), 1)
    give, decline = LandTransfer(*ids(), 1, BEA), LandTransfer(*ids(), 1, ADA)
    told = []
    for who, request in (
        (ADA, give),
        (BEA, decline),
        (ADA, LandTransfer(*ids(), 1, BEA)),
        (BEA, LandTake(*ids(), 1)),
    ):
        events, frame = town.world.do(act(who, request)), TickFrame(0, 0)
        town.withheld.take(town.world.state, events.acted)
        town.withheld.release(town.world.state.seq, frame)
        news = [(codec.decode_server(message)[0], players) for message, players in frame.heard]
        told.append([(one.parcel.owner_id, players) for one, players in news if isinstance(one, LandChanged)])
    assert told == [[], [(ADA, [ADA])], [], [(BEA, [ADA])]]


def test_a_sale_is_told_where_the_land_is_seen_and_to_its_seller_wherever_they_are() -> None:
    """Guards: _add_sale finds the cells of land that its entry does not change; the seller among who hears."""
    town = Told()
    town.world.do(join(ADA, 900.0, 900.0), join(BEA), join(CAL))
    town.tick(town.world.do(act(ADA, claim())), 1)
    told, ends = [], []
    for who, request in (
        (ADA, MarketList(*ids(), 1, 500)),
        (ADA, MarketEdit(*ids(), 2, 600)),
        (ADA, MarketCancel(*ids(), 2)),
        (ADA, MarketList(*ids(), 1, 700)),
        (BEA, MarketBuy(*ids(), 5, 700)),
    ):
        events, frame = town.world.do(act(who, request)), TickFrame(0, 0)
        town.withheld.take(town.world.state, events.acted)
        town.withheld.release(town.world.state.seq - 1, frame)
        assert not frame.casts, "it is not stored yet"
        town.withheld.release(town.world.state.seq, frame)
        seen = [(cells, codec.decode_server(message)[0]) for cells, message in frame.casts]
        heard = [(to, codec.decode_server(message)[0]) for message, to in frame.heard]
        told += [(type(one), cells) for cells, one in seen if isinstance(one, SALES)]
        told += [(type(one), to) for to, one in heard if isinstance(one, SALES)]
        ends = [(one.end, one.buyer_id, one.price) for _, one in seen if isinstance(one, ListingEnded)]
    here = [pack(0, 0)]
    assert told == [
        (ListingOpened, here),
        (ListingChanged, here),
        (ListingEnded, here),
        (ListingOpened, here),
        (ListingEnded, here),
        (ListingEnded, [ADA]),
    ]
    assert ends == [(SaleEnd.SOLD, BEA, 700)]


def test_the_end_of_a_sale_is_told_where_the_land_was_whatever_became_of_it_in_the_same_batch() -> None:
    """Guard: Entry.sold, the cells as they are when the entry is made."""
    for then in (LandAbandon(*ids(), 1), LandSplit(*ids(), 1, Cut.VERTICAL, 32)):
        town = Told()
        town.tick(town.world.do(act(ADA, LandClaim(*ids(), 0, 0, 64, 16))), 1)
        town.tick(town.world.do(act(ADA, MarketList(*ids(), 1, 500))), 2)
        events, frame = town.world.do(act(ADA, MarketCancel(*ids(), 2)), act(ADA, then)), TickFrame(0, 0)
        town.withheld.take(town.world.state, events.acted)
        town.withheld.release(4, frame)
        [cells] = [
            cells
            for cells, message in frame.casts
            if isinstance(codec.decode_server(message)[0], ListingEnded)
        ]
        assert sorted(cells) == sorted([pack(0, 0), pack(1, 0)])


SALES = ListingOpened, ListingChanged, ListingEnded
