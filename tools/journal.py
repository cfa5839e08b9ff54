"""`landworld journal show` and `landworld journal prune`: the history of land, money and buildings, for people.

`show` prints an entry a line, oldest first; --player and --parcel leave out what does not concern them. `prune` forgets whole parts of
the journal (1,000,000 entries each) of which every entry is older than --keep-days: what they added up to stays, so the audit still
holds, and statements and `show` begin later. Both may be used while a server runs.
"""

import argparse
import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime

from persistence.history import Snapshot
from persistence.prune import prune
from persistence.store import StoreError
from protocol.edits import CHUNK_EDIT
from server.config import ConfigError
from server.receipts import concerns
from tools.database import FORESEEABLE, add_database, database, say
from world.entries import NOBODY, Built, Change, Record, read
from world.ledger import ESCROW, GATEWAY, HOUSE, TREASURY, Hold, Post, in_words
from world.parcels import Freed, Parcel

ACCOUNTS = {TREASURY: "the treasury", HOUSE: "the house", ESCROW: "escrow"}
NAMES_KEPT_MAX = 100_000

Names = dict[int, str]


class NobodyCalled(StoreError):  # noqa: N818
    """There is no player of this name."""


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
    try:
        asyncio.run(arguments.work(arguments))
    except ConfigError as error:
        say(str(error))
        return 2
    except FORESEEABLE as error:
        say(str(error))
        return 1
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
        names: Names = {}
        shown = 0
        async for when, entry in _chosen(snapshot, arguments):
            await _learn(snapshot, entry, names)
            print(line(entry, when, names))
            shown += 1
            if shown == arguments.count:
                return


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
    """The parcels that an entry changes."""
    return {change.parcel_id for change in entry.changes if isinstance(change, Parcel | Freed)}


async def _learn(snapshot: Snapshot, entry: Record, names: Names) -> None:
    """Looks up who is meant, once each."""
    accounts = {change.account for change in entry.changes if isinstance(change, Post | Hold)}
    new = [one for one in {entry.player_id, *accounts} if one > NOBODY and one not in names]
    if len(names) > NAMES_KEPT_MAX:
        names.clear()
    if new:
        names.update({one: f"player {one}" for one in new} | await snapshot.names(new))


def line(entry: Record, when: datetime, names: Names) -> str:
    """An entry for people."""
    who = names.get(entry.player_id, "the world")
    what = "; ".join(_words(entry.changes, names))
    return f"{entry.seq:>10}  {when.astimezone(UTC):%Y-%m-%d %H:%M:%S}  {entry.kind} by {who}: {what}"


def _words(changes: list[Change], names: Names) -> Iterator[str]:
    for change in changes:
        match change:
            case Post(account, amount, balance):
                way = "to" if amount >= 0 else "from"
                yield f"{in_words(abs(amount))} {way} {_account(account, names)} (then {_signed(balance)})"
            case Hold(hold_id, account, 0):
                yield f"hold {hold_id} of {_account(account, names)} ends"
            case Hold(hold_id, account, amount, why):
                yield f"hold {hold_id}: {in_words(amount)} of {_account(account, names)} for {why}"
            case Parcel():
                name = f" “{change.name}”" if change.name else ""
                price = f", for sale at {in_words(change.price)}" if change.price is not None else ""
                place = f"{change.pw} x {change.ph} plots at plot ({change.px}, {change.py})"
                yield f"parcel {change.parcel_id}{name} of {change.owner_name}, {place}{price}"
            case Freed():
                yield f"parcel {change.parcel_id} is nobody's"
            case Built():
                tiles = len(change.edits) // CHUNK_EDIT.itemsize
                yield f"{tiles} {'tile' if tiles == 1 else 'tiles'} of chunk ({change.cx}, {change.cy})"


def _account(account: int, names: Names) -> str:
    if account <= GATEWAY:
        return f"gateway {account}"
    return ACCOUNTS.get(account) or names.get(account, f"player {account}")


def _signed(poisha: int) -> str:
    return in_words(poisha) if poisha >= 0 else f"-{in_words(-poisha)}"
