"""`landworld journal show` and `landworld journal prune`: the history of land, money and buildings, for people.

`show` prints an entry a line, oldest first; --player and --parcel leave out what does not concern them. Of a parcel it tells all that
holds there where it comes up first, and after that what has changed. With --account it prints the postings of one account instead, with
what was there after each. `prune` forgets whole parts of
the journal (1,000,000 entries each) of which every entry is older than --keep-days: what they added up to stays, so the audit still
holds, and statements and `show` begin later. Both may be used while a server runs.
"""

import argparse
import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime

from persistence.history import Snapshot
from persistence.prune import prune
from persistence.store import StoreError
from protocol.edits import CHUNK_EDIT
from protocol.messages import SaleEnd, Standing
from server.receipts import concerns
from tools.database import FORESEEABLE, add_database, database, ended, say
from world.entries import NOBODY, Built, Change, Record, read
from world.leases import term_in_words
from world.ledger import ESCROW, GATEWAY, HOUSE, TREASURY, Hold, Post, in_words
from world.parcels import Freed, Lease, Parcel, Rectangle, Terms
from world.sales import Auction, Listing, Sale

ACCOUNTS = {TREASURY: "the treasury", HOUSE: "the house", ESCROW: "escrow"}
ACCOUNT_IDS = {"treasury": TREASURY, "house": HOUSE, "escrow": ESCROW}
ACCOUNT_NUMBER = re.compile(r"-?[0-9]{1,18}")
NAMES_KEPT_MAX = 100_000
PARCELS_KEPT_MAX = 100_000  # as they were when they came up last

Names = dict[int, str]
Parcels = dict[int, Parcel]


class NobodyCalled(StoreError):  # noqa: N818
    """There is no player of this name, or not just one where one is meant."""


class NeverThere(StoreError):  # noqa: N818
    """No entry can be meant by what was asked for."""


def add_parser(sub: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The sub-command."""
    parser = sub.add_parser("journal", help="show history, or forget the oldest", description=__doc__)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    shows = actions.add_parser("show", help="print history, an entry a line")
    shows.add_argument(
        "--from", type=int, default=1, metavar="SEQ", dest="first", help="begin with this entry"
    )
    shows.add_argument("--count", type=int, metavar="N", help="stop after N lines")
    shows.add_argument("--player", metavar="NAME", help="what a player did, paid or was paid, or owns")
    shows.add_argument("--parcel", type=int, metavar="ID", help="what happened to a parcel")
    shows.add_argument(
        "--account",
        metavar="NAME|ID",
        help="postings and balances of an account: a player's name or id, house, treasury, escrow, or a gateway's id (--account=-100)",
    )
    add_database(shows)
    shows.set_defaults(run=run, work=_show)
    prunes = actions.add_parser("prune", help="forget the oldest history; the audit still holds")
    prunes.add_argument("--keep-days", type=float, required=True, metavar="N", help="what is younger stays")
    add_database(prunes)
    prunes.set_defaults(run=run, work=_prune)


def run(arguments: argparse.Namespace) -> int:
    """0 when it is done, 1 with a message when it cannot be, 2 for wrong use or settings."""
    if getattr(arguments, "keep_days", 0.0) < 0:
        say("--keep-days is 0 or more")
        return 2
    first, count = getattr(arguments, "first", 1), getattr(arguments, "count", None)
    if first < 1 or (count is not None and count < 1):
        say("--from and --count are 1 or more")
        return 2
    if getattr(arguments, "account", None) and (arguments.player or arguments.parcel is not None):
        say("--account stands alone: it goes with neither --player nor --parcel")
        return 2
    try:
        asyncio.run(arguments.work(arguments))
    except FORESEEABLE as error:
        return ended(error)
    return 0


async def _prune(arguments: argparse.Namespace) -> None:
    async with database(arguments, alone=False) as dsn:
        done = await prune(dsn, arguments.keep_days, lambda text: say(f"  {text} ..."))
    if done.entries:
        print(f"Pruned {done.entries:,} entries; history begins with entry {done.last_seq + 1}.")
    else:
        print(f"Nothing is old enough; history begins with entry {done.last_seq + 1}.")


async def _show(arguments: argparse.Namespace) -> None:
    async with database(arguments, alone=False) as dsn, Snapshot.of(dsn) as snapshot:
        begins = (await snapshot.pruned())[0] + 1
        if arguments.first < begins:
            print(f"History begins with entry {begins}." if begins > 1 else "From the first entry on:")
        await _check_there(snapshot, arguments)
        if arguments.account:
            await _show_account(snapshot, arguments)
            return
        names, parcels, shown = Names(), Parcels(), 0
        async for when, entry in _chosen(snapshot, arguments):
            await _learn(snapshot, entry, names)
            print(line(entry, when, names, parcels))
            _keep(entry, parcels)
            shown += 1
            if shown == arguments.count:
                return
        if not shown:
            say("No entry is like that.")


async def _show_account(snapshot: Snapshot, arguments: argparse.Namespace) -> None:
    """Postings, a line each; a page ends with the last of an entry."""
    account, who = await _meant(snapshot, arguments.account)
    print(f"Postings of {who}: entry, when, what, amount, balance")
    shown = last = 0
    async for seq, when, kind, amount, balance in snapshot.of_account(account, arguments.first):
        if arguments.count is not None and shown >= arguments.count and seq != last:
            print(f"There is more: --from {seq}")
            return
        print(f"{_place(seq, when)}  {kind:<16} {_signed(amount, '+'):>20} {_signed(balance):>20}")
        shown, last = shown + 1, seq
    if not shown:
        say("Nothing was posted there.")


async def _meant(snapshot: Snapshot, account: str) -> tuple[int, str]:
    """The account that a person means, and what it is called. Raises NobodyCalled."""
    if account in ACCOUNT_IDS:
        return ACCOUNT_IDS[account], ACCOUNTS[ACCOUNT_IDS[account]]
    if ACCOUNT_NUMBER.fullmatch(account):
        number = int(account)
        return number, _account(number, await snapshot.names([number]))
    players = await snapshot.players_named(account)
    if len(players) > 1:
        raise NobodyCalled(f"several are called {account}: say which of {', '.join(map(str, players))}")
    if not players:
        raise NobodyCalled(f"there is no player called {account}")
    return players[0], f"{account} (player {players[0]})"


async def _check_there(snapshot: Snapshot, arguments: argparse.Namespace) -> None:
    """Raises NeverThere."""
    end = await snapshot.end()
    if arguments.first > max(end.last_seq, 1):
        raise NeverThere(f"there is no entry {arguments.first}; the last is {end.last_seq}")
    if arguments.parcel is not None and not 1 <= arguments.parcel <= end.last_parcel_id:
        raise NeverThere(f"there never was a parcel {arguments.parcel}; the last is {end.last_parcel_id}")


async def _chosen(
    snapshot: Snapshot, arguments: argparse.Namespace
) -> AsyncIterator[tuple[datetime, Record]]:
    """When and what, of the entries that were asked for. Raises NobodyCalled."""
    players = await snapshot.players_named(arguments.player) if arguments.player else []
    if arguments.player and not players:
        raise NobodyCalled(f"there is no player called {arguments.player}")
    async for _, when, record in snapshot.written(arguments.first - 1):
        entry = read(record)
        if players and not any(concerns(entry, player_id) for player_id in players):
            continue
        if arguments.parcel is None or arguments.parcel in parcels_of(entry):
            yield when, entry


def parcels_of(entry: Record) -> set[int]:
    """The parcels that an entry changes, or whose sale."""
    return {change.parcel_id for change in entry.changes if isinstance(change, Parcel | Freed | Sale)}


async def _learn(snapshot: Snapshot, entry: Record, names: Names) -> None:
    """Looks up who is meant, once each."""
    meant = {change.account for change in entry.changes if isinstance(change, Post | Hold)}
    meant |= {change.given_to or NOBODY for change in entry.changes if isinstance(change, Parcel)}
    for sale in (change for change in entry.changes if isinstance(change, Sale)):
        meant |= {sale.seller_id, sale.standing.leader_id if isinstance(sale, Auction) else NOBODY}
    new = [one for one in {entry.player_id, *meant} if one > NOBODY and one not in names]
    if len(names) > NAMES_KEPT_MAX:
        names.clear()
    if new:
        names.update({one: f"player {one}" for one in new} | await snapshot.names(new))


def _keep(entry: Record, parcels: Parcels) -> None:
    """How the parcels of an entry are after it."""
    if len(parcels) > PARCELS_KEPT_MAX:
        parcels.clear()
    for change in entry.changes:
        if isinstance(change, Parcel):
            parcels[change.parcel_id] = change


def line(entry: Record, when: datetime, names: Names, parcels: Parcels) -> str:
    """An entry for people; `parcels` as they were before it, as far as that is known."""
    who = names.get(entry.player_id, "the world")
    what = "; ".join(_words(entry.changes, names, parcels)) or "nothing was changed"
    return f"{_place(entry.seq, when)}  {entry.kind} by {who}: {what}"


def _place(seq: int, when: datetime) -> str:
    """Where an entry stands, and when it was stored."""
    return f"{seq:>10}  {when.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def _words(changes: list[Change], names: Names, parcels: Parcels) -> Iterator[str]:
    for change in changes:
        match change:
            case Post(account, amount, balance):
                way = "to" if amount >= 0 else "from"
                yield f"{in_words(abs(amount))} {way} {_account(account, names)} (then {_signed(balance)})"
            case Hold(hold_id, account, 0, _, state):
                yield f"hold {hold_id} of {_account(account, names)} is {state}"
            case Hold(hold_id, account, amount, why):
                yield f"hold {hold_id}: {in_words(amount)} of {_account(account, names)} for {why}"
            case Parcel():
                name = f" “{change.name}”" if change.name else ""
                known = [
                    f"parcel {change.parcel_id}{name} of {change.owner_name}, {_plots(change.rectangle)}"
                ]
                yield ", ".join([*known, *_news(change, parcels.get(change.parcel_id), names)])
            case Freed():
                yield f"parcel {change.parcel_id} is nobody's"
            case Listing() | Auction():
                yield _sale(change, names)
            case Built():
                tiles = len(change.edits) // CHUNK_EDIT.itemsize
                yield f"{tiles} {'tile' if tiles == 1 else 'tiles'} of chunk ({change.cx}, {change.cy})"


def _news(parcel: Parcel, before: Parcel | None, names: Names) -> Iterator[str]:
    """What holds on a parcel and did not before; where that is not known, what does not hold on land that was just claimed."""
    if before is None:
        before = Parcel(parcel.parcel_id, parcel.owner_id, parcel.owner_name, *parcel.rectangle)
    was, now = dict(_facts(before, names)), dict(_facts(parcel, names))
    yield from (words for what, words in now.items() if was.get(what) != words)
    now_standing = {one.player_id for one in parcel.permits}
    for one in before.permits:
        if one.player_id not in now_standing:
            yield f"{one.name} has no standing any more"


def _facts(parcel: Parcel, names: Names) -> Iterator[tuple[object, str]]:
    """What may change about a parcel besides its owner, name and place: what it is about, and how it is, in words."""
    yield "description", f"described “{parcel.description}”" if parcel.description else "not described"
    yield "enter", "everybody may enter" if parcel.open_enter else "closed to whom nobody lets in"
    yield "build", "everybody may build" if parcel.open_build else "only builders may build"
    yield "given", _gift(parcel.given_to, names) if parcel.given_to else "not given away"
    yield "to_let", f"to let {_terms(parcel.to_let)}" if parcel.to_let else "not to let"
    yield "lease", _lease(parcel.lease) if parcel.lease else "let to nobody"
    yield "way", f"a way for everybody over {_plots(parcel.way)}" if parcel.way else "no way for everybody"
    yield "paid", f"upkeep paid until tick {parcel.paid_until}" if parcel.paid_until else "no upkeep begun"
    yield "arrears", f"{parcel.arrears} periods of upkeep missed" if parcel.arrears else "no upkeep missed"
    for one in parcel.permits:
        yield one.player_id, f"{one.name} is {Standing(one.standing).name.lower()}"


def _sale(sale: Sale, names: Names) -> str:
    kind = "auction" if isinstance(sale, Auction) else "sale"
    what = f"{kind} {sale.sale_id} of parcel {sale.parcel_id} by {names.get(sale.seller_id, sale.seller_id)}"
    if sale.end is None:
        terms = _standing(sale, names) if isinstance(sale, Auction) else f"at {in_words(sale.price)}"
        until = "" if sale.ends is None else f" until tick {sale.ends}"
        kept = ", permits are kept" if sale.keep_permits else ""
        fee = f", of which {in_words(sale.fee)} are the fee" if sale.fee else ""
        return f"{what}: {terms}{fee}{until}{kept}"
    if sale.end is SaleEnd.SOLD:
        return f"{what} is over: sold at {in_words(sale.price)}"
    return f"{what} is over: {SaleEnd(sale.end).name.lower()}"


def _standing(auction: Auction, names: Names) -> str:
    """How an auction stands. Whoever may read the journal may know what nobody else does: the reserve, and the leader's maximum."""
    terms, standing = auction.terms, auction.standing
    reserve = "" if terms.reserve is None else f", reserve {in_words(terms.reserve)}"
    at_once = "" if terms.buy_now is None else f", at once for {in_words(terms.buy_now)}"
    if not standing.has_bids:
        return f"from {in_words(terms.start_price)}{reserve}{at_once}"
    leader = names.get(standing.leader_id, auction.leader_name)
    return (
        f"{leader} leads at {in_words(standing.price)}, up to {in_words(standing.maximum)}{reserve}{at_once}"
    )


def _gift(player_id: int, names: Names) -> str:
    return f"given to {names.get(player_id, f'player {player_id}')}, if they take it"


def _terms(terms: Terms) -> str:
    renewed = "renewed" if terms.renewable else "not renewed"
    return f"at {in_words(terms.rent)} for {term_in_words(terms.term_ms)}, {renewed}, deposit {in_words(terms.deposit)}"


def _lease(lease: Lease) -> str:
    leaving = ", and not longer" if lease.leaving else ""
    return f"let to {lease.tenant_name} {_terms(lease.terms)}, until tick {lease.ends}{leaving}"


def _plots(rectangle: Rectangle) -> str:
    px, py, pw, ph = rectangle
    return f"{pw} x {ph} plots at plot ({px}, {py})"


def _account(account: int, names: Names) -> str:
    if account <= GATEWAY:
        return f"gateway {account}"
    return ACCOUNTS.get(account) or names.get(account, f"player {account}")


def _signed(poisha: int, plus: str = "") -> str:
    return f"{plus}{in_words(poisha)}" if poisha >= 0 else f"-{in_words(-poisha)}"
