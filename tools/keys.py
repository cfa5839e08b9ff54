"""`landworld keys`: which keys there are, and new ones in their place.

    list             what there is, and, of sealing keys, how many values are under each
    rotate signing   a new key signs; those before it go on being believed until everything they signed by the settings has run out
                     (--now: not at all; for a key that somebody else has)
    rotate sealing   a new key seals, and all private values are sealed anew with it. Killed, it goes on where it was when it is called
                     again. The key before stays until the next rotation, for backups of before

A running server takes part in it by itself, within seconds. Keys from the environment are changed there: the new one goes first, then
a comma, then those before it; `rotate sealing` then seals anew what the first does not seal yet. Exit code 1: it was not done, or some
values could not be opened.
"""

import argparse
import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from persistence.keyring import RIPE_MS, Key, Ring, changing, made, read_ring, replace_ring
from persistence.reseal import Resealed, keys_in_use, reseal
from persistence.sealing import Sealer
from persistence.store import StoreError
from server.config import Config, load_config, variable_of
from server.keys import SEALING_FILE, SIGNING_FILE, now_ms, read_sealing, ring_of
from tools.database import FORESEEABLE, add_database, database, ended, say

DAY_MS = 86_400_000
FILES = {"signing": SIGNING_FILE, "sealing": SEALING_FILE}


class NotHere(StoreError):  # noqa: N818
    """There is no such key, or it is not for this command to change."""


def add_parser(sub: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The sub-command."""
    parser = sub.add_parser("keys", help="list keys, or put new ones in their place", description=__doc__)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    lists = actions.add_parser("list", help="which keys there are, and what they are good for")
    lists.add_argument("--json", action="store_true", help="end with one JSON object")
    add_database(lists)
    lists.set_defaults(run=run, work=_list)
    rotates = actions.add_parser("rotate", help="a new key in the place of the current one")
    rings = rotates.add_subparsers(metavar="RING", required=True)
    signing = rings.add_parser("signing", help="of tokens and tickets")
    signing.add_argument(
        "--now",
        action="store_true",
        help="the keys before are worth nothing at once: all sign in again, guests come as new ones; who is connected stays",
    )
    signing.add_argument("--data", type=Path, help="another data directory than that of the settings")
    signing.set_defaults(run=run, work=_rotate_signing)
    sealing = rings.add_parser("sealing", help="of private values, all of which are sealed anew")
    add_database(sealing)
    sealing.set_defaults(run=run, work=_rotate_sealing)


def run(arguments: argparse.Namespace) -> int:
    """0 when it is done, 1 with a message when it is not or not wholly, 2 for wrong use or settings."""
    try:
        return int(asyncio.run(arguments.work(arguments, load_config())))
    except (*FORESEEABLE, OSError, ValueError) as error:  # ValueError: too many keys
        return ended(error, "Not done")


# --- list --------------------------------------------------------------------------------------------------------------------------


async def _list(arguments: argparse.Namespace, config: Config) -> int:
    data = arguments.data or config.data
    rings = {
        "signing": ring_of(config.signing_key) or read_ring(_there(data / SIGNING_FILE)),
        "sealing": read_sealing(config, data) or read_ring(_there(data / SEALING_FILE)),
    }
    async with database(arguments, alone=False) as dsn:
        values = await keys_in_use(dsn)
    for name, ring in rings.items():
        print(f"{name} keys ({_source(config, data, name)}):")
        for key in ring.keys:
            print(f"  {key.id}  {_told(key, ring, values if name == 'sealing' else None)}")
    gone = {key_id: count for key_id, count in values.items() if key_id not in rings["sealing"]}
    for key_id, count in gone.items():
        print(f"  {key_id}  not here; {count:,} values cannot be opened without it")
    if arguments.json:
        found = {name: [_as_json(key, ring) for key in ring.keys] for name, ring in rings.items()}
        print(json.dumps({**found, "values": values}))
    return 1 if gone else 0


def _told(key: Key, ring: Ring, values: Mapping[str, int] | None) -> str:
    parts = [f"made {_date(key.made_at_ms)}" if key.made_at_ms else "made before keys had dates, or outside"]
    parts.append(_state(key, ring))
    if key.retires_at_ms:
        parts.append(f"until {_date(key.retires_at_ms)}")
    if values is not None:
        parts.append(f"{values.get(key.id, 0):,} values")
    return ", ".join(parts)


def _state(key: Key, ring: Ring) -> str:
    now = now_ms()
    if key.is_retired(now):
        return "retired"
    if key is ring.current(now):
        return "current"
    return "coming" if key.made_at_ms + RIPE_MS > now else "reads"


def _as_json(key: Key, ring: Ring) -> dict[str, object]:
    return {
        "id": key.id,
        "made_at_ms": key.made_at_ms,
        "retires_at_ms": key.retires_at_ms,
        "state": _state(key, ring),
    }


# --- rotate ------------------------------------------------------------------------------------------------------------------------


async def _rotate_signing(arguments: argparse.Namespace, config: Config) -> int:
    path = (arguments.data or config.data) / SIGNING_FILE
    if config.signing_key:
        variable = variable_of("signing_key")
        raise NotHere(
            f"the signing key comes from the environment. Put the new one first there, {variable}=NEW,OLD, and start the server anew; "
            f"take the old one out when what it signed has run out, in {_longest_days(config):g} days"
        )
    with changing(_there(path)):
        now = now_ms()
        read_for_ms = round(_longest_days(config) * DAY_MS)
        ring = Ring((made(now),)) if arguments.now else read_ring(path).with_new(now, read_for_ms)
        replace_ring(path, ring)
    *before, new = ring.keys
    print(f"{new.id} signs {'from now on' if arguments.now else f'in {RIPE_MS // 1_000} s'}.")
    for key in before:
        print(f"{key.id} is believed until {_date(key.retires_at_ms)}.")
    return 0


def _longest_days(config: Config) -> float:
    """After this nothing is left of what a key signed, but for tokens of `landworld token --days`."""
    return max(config.session.ticket_days, config.session.token_days, config.accounts.refresh_days)


async def _rotate_sealing(arguments: argparse.Namespace, config: Config) -> int:
    path = (arguments.data or config.data) / SEALING_FILE
    async with database(arguments, alone=False) as dsn:
        in_use = await keys_in_use(dsn)
        if not config.sealing_key:
            ring = await asyncio.to_thread(_new_ring, path, in_use)
        else:
            ring = _given_ring(path, config, in_use)
        await _ripen(ring)
        done = await reseal(dsn, Sealer(ring, b""), lambda text: say(f"  {text} ..."))
    return _report(done, ring)


def _given_ring(path: Path, config: Config, in_use: Mapping[str, int]) -> Ring:
    """That of the environment, whose newest key does not seal everything yet. Raises NotHere."""
    ring = read_sealing(config, path.parent)
    assert ring is not None
    if not _unfinished(ring, in_use):
        variable = variable_of("sealing_key")
        raise NotHere(
            f"the sealing key comes from the environment, and seals all there is. Put a new one first there, {variable}=NEW,OLD, "
            "start the server anew, and call this again"
        )
    return ring


def _new_ring(path: Path, in_use: Mapping[str, int]) -> Ring:
    """With a new key, unless the last rotation is not finished. Keys that nothing was sealed with since that are forgotten."""
    with changing(_there(path)):
        ring = read_ring(path)
        if _unfinished(ring, in_use):
            say("  The last rotation was not finished; this goes on with it.")
            return ring
        idle = {key.id for key in ring.keys[:-1] if not in_use.get(key.id)}
        ring = ring.without(idle).with_new(now_ms(), None)
        replace_ring(path, ring)
        return ring


def _unfinished(ring: Ring, in_use: Mapping[str, int]) -> bool:
    """Whether there are values under a key of the ring that is not its newest."""
    return any(in_use.get(key.id) for key in ring.keys[:-1])


async def _ripen(ring: Ring) -> None:
    """Waits until all who look at the file know the newest key."""
    wait_ms = ring.keys[-1].made_at_ms + RIPE_MS - now_ms()
    if wait_ms > 0:
        say(f"  waiting {wait_ms / 1_000:.0f} s, until a running server knows the new key ...")
        await asyncio.sleep(min(wait_ms, RIPE_MS) / 1_000)


def _report(done: Resealed, ring: Ring) -> int:
    print(f"{ring.keys[-1].id} seals all private values; {done.values:,} were sealed anew.")
    for trouble in done.troubles:
        say(f"  {trouble}")
    if done.troubles:
        say(f"{len(done.troubles):,} values could not be opened. They were left as they are.")
    return 1 if done.troubles else 0


# --- words -------------------------------------------------------------------------------------------------------------------------


def _there(path: Path) -> Path:
    """Raises NotHere."""
    if not path.exists():
        raise NotHere(
            f"there is no {path}: the first start of a server makes it. Is LANDWORLD_DATA the right directory?"
        )
    return path


def _source(config: Config, data: Path, name: str) -> str:
    given = {"signing": config.signing_key, "sealing": config.sealing_key}[name]
    return variable_of(f"{name}_key") if given else str(data / FILES[name])


def _date(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1_000, UTC):%Y-%m-%d %H:%M} UTC"
