"""`landworld crash`: a real server and a real database, killed again and again under load, and nothing acknowledged lost.

Players claim, build, sell, buy, give away, split and merge over real sockets and keep their own record of every answer and event.
After each fault the server is started again if it died, the players come back by their tickets and ask again what was not answered
(and sometimes what was), and that record is held against the database: nothing acknowledged is lost, nothing is done twice, the same
answers to the same actions, nothing told that is not stored, the chain of digests, the balances, one owner per plot.
"""

import argparse
import asyncio
import json
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Any

from rich.console import Console

from tools.crash.faults import POSTGRES, SERVER, Kind, strike
from tools.crash.host import Host, HostError, kill
from tools.crash.outages import OUTAGES
from tools.crash.trial import Trial, trial

KILLS = 20
POSTGRES_KILLS = 6
OUTAGE_S = 60.0
SHOWN_MAX = 20  # violations in a report
WARM_UP_S = 2.0  # of load before the first fault


def add_parser(sub: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The sub-command."""
    parser = sub.add_parser(
        "crash", help="kill a real server under load, and check everything", description=__doc__
    )
    parser.add_argument("--kills", type=int, default=KILLS, metavar="N", help="of the server")
    parser.add_argument(
        "--postgres-kills", type=int, default=POSTGRES_KILLS, metavar="M", help="of the database"
    )
    parser.add_argument(
        "--outages",
        action="store_true",
        help="after that: database stopped, slow, full disk, a second server (outages.py)",
    )
    parser.add_argument(
        "--outage-s", type=float, default=OUTAGE_S, metavar="S", help="how long each of them lasts"
    )
    parser.add_argument("--gateways", type=int, default=0, metavar="G", help="server.gateways")
    parser.add_argument(
        "--seed", type=int, help="of the players' choices and the moments; real crashes do not repeat exactly"
    )
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    parser.set_defaults(run=crash)


def crash(arguments: argparse.Namespace) -> int:
    """Runs it; 0 when every promise was kept."""
    signal.signal(
        signal.SIGTERM, signal.default_int_handler
    )  # also who is told to end leaves no server behind
    seed = Random().randrange(2**32) if arguments.seed is None else arguments.seed  # noqa: S311 (of a test run)
    console = Console(stderr=True)
    kinds = list(_kinds(arguments.kills, arguments.postgres_kills, Random(seed)))  # noqa: S311 (as above)
    console.print(f"seed {seed}: {len(kinds)} faults")
    try:
        found = _killed(kinds, arguments.gateways, seed, console)
        if arguments.outages:
            found["outages"] = [_outage(name, arguments.outage_s, seed, console) for name in OUTAGES]
            found["violations"] += sum(one["violations"] for one in found["outages"])
    except (HostError, TimeoutError) as error:
        console.print(f"[red]It did not come to its end:[/] {error}")
        return 1
    console.print(f"{found['violations']} promises broken")
    if arguments.json:
        print(json.dumps(found))
    return 1 if found["violations"] else 0


@contextmanager
def _place() -> Iterator[Path]:
    """A directory for a world."""
    place = Path(tempfile.mkdtemp(prefix="landworld-crash-"))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _killed(kinds: list[Kind], gateways: int, seed: int, console: Console) -> dict[str, Any]:
    """One world that is killed so often."""
    with _place() as place:
        host = Host(place / "data", {"server.gateways": gateways})
        try:
            found = asyncio.run(_run(host, kinds, seed, console))
        except (HostError, TimeoutError) as error:
            raise HostError(f"{error}\n{host.last_words()}") from None
        finally:
            if host.alive:
                kill(host.processes())
            kill(host.database())
    console.print(_in_words(found))
    return found


def _outage(name: str, seconds: float, seed: int, console: Console) -> dict[str, Any]:
    """One world with one long trouble."""
    with _place() as place:
        try:
            outage = asyncio.run(OUTAGES[name](place, seconds, seed))
        except PermissionError as error:
            console.print(f"{name:10} left out: {error}")
            return {"name": name, "violations": 0, "left_out": str(error)}
    found = {
        "name": name,
        "acknowledged": outage.oracle.acknowledged,
        "entries": outage.entries,
        "unavailable_ms": outage.unavailable_ms,
        "moved_gap_ms": outage.moved_gap_ms,
        "violations": len(outage.oracle.violations),
        "violations_shown": outage.oracle.violations[:SHOWN_MAX],
    }
    console.print(f"{name:10} {found}")
    return found


def _kinds(kills: int, postgres_kills: int, random: Random) -> Iterator[Kind]:
    """So many faults of each sort, every kind in turn, mixed."""
    wanted = [kind for _, kind in zip(range(kills), cycle(SERVER), strict=False)]
    wanted += [kind for _, kind in zip(range(postgres_kills), cycle(POSTGRES), strict=False)]
    random.shuffle(wanted)
    yield from wanted


async def _run(host: Host, kinds: list[Kind], seed: int, console: Console) -> dict[str, Any]:
    async with trial(host, host.dsn, seed) as running:
        await running.load(WARM_UP_S)
        for number, kind in enumerate(kinds, 1):
            before = len(running.oracle.violations)
            await strike(running, kind)
            console.print(
                f"{number:4} {kind.name:16} {running.oracle.acknowledged:8,} acknowledged  {running.audit.seq:8,} entries"
            )
            for violation in running.oracle.violations[before:]:
                console.print(f"     [red]{violation}[/]")
        return _report(running, kinds, seed)


def _report(running: Trial, kinds: list[Kind], seed: int) -> dict[str, Any]:
    oracle = running.oracle
    return {
        "seed": seed,
        "server_kills": sum(kind.kills_server for kind in kinds)
        + sum(kind.name == "in the start" for kind in kinds),
        "postgres_kills": sum(kind.kills_postgres for kind in kinds),
        "faults": dict(Counter(kind.name for kind in kinds)),
        "actions": len(oracle.asked),
        "sends": oracle.sends,
        "acknowledged": oracle.acknowledged,
        "acknowledged_again": oracle.repeated,
        "refusals": dict(oracle.refusals),
        "events": oracle.told,
        "chunks_compared": oracle.compared,
        "entries": running.audit.seq,
        "parcels": len(running.audit.parcels),
        "violations": len(oracle.violations),
        "violations_shown": oracle.violations[:SHOWN_MAX],
    }


def _in_words(found: dict[str, Any]) -> str:
    return (
        f"{found['server_kills']} kills of the server, {found['postgres_kills']} of Postgres; {found['actions']:,} actions sent "
        f"{found['sends']:,} times, {found['acknowledged']:,} acknowledged, {found['acknowledged_again']:,} of them again, "
        f"{found['events']:,} events; {found['violations']} promises broken"
    )
