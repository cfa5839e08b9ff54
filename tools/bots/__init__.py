"""`landworld bots`: players made of software, for company and for load tests.

The parts: wire.py (WebSocket, the client's half), behaviour.py (where to go), acting.py (asking for what is durable), settler.py (who
own land), watch.py (what is measured), fleet.py (sockets, epoll, the run), report.py (figures, table, picture). This file is the
command: arguments in, exit code out.

Exit codes: 0 when all were there and nothing went wrong; 1 when there were errors or fewer players than asked for; 2 when the
bots could not set out. The report goes to standard output, progress and complaints to standard error. Residents are company for
the server that started them (`landworld serve --bots`): they say nothing, keep coming back when the server restarts, and end with
the process that started them.
"""

import argparse
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from server.auth import Signer
from server.config import ConfigError, load_config
from server.keys import load_signing
from tools.bots import report
from tools.bots.behaviour import BEHAVIOURS
from tools.bots.fleet import Bot, Fleet, FleetError, Plan, Target, check_sources, parse_target
from tools.bots.progress import Progress
from tools.bots.settler import Settler

KINDS: dict[str, type[Bot]] = {"settle": Settler}  # of bots that do more than walk
REACH_TIMEOUT_S = 5.0

PASSED, FAILED, NOT_STARTED = 0, 1, 2


def add_parser(sub: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register `landworld bots`."""
    parser = sub.add_parser(
        "bots",
        help="bots that walk a world and measure it",
        description="Bots that walk a world and measure it. Exit code 1 when anything went wrong.",
    )
    parser.add_argument("--count", type=_at_least(1), default=100, metavar="N", help="how many (default 100)")
    parser.add_argument(
        "--seconds",
        type=_at_least(0),
        default=30,
        metavar="S",
        help="measured time; 0 is until stopped (default 30)",
    )
    parser.add_argument(
        "--url", help="the game socket (default ws://127.0.0.1:PORT/, with server.port of the settings)"
    )
    parser.add_argument(
        "--resident", action="store_true", help="until the process that started them ends, without a word"
    )
    who = parser.add_mutually_exclusive_group()
    who.add_argument(
        "--tokens",
        type=Path,
        metavar="FILE",
        help="access tokens, one a line (landworld token, landworld logins accounts); without, they are guests",
    )
    who.add_argument(
        "--name",
        metavar="PREFIX",
        help="be PREFIX-1 to PREFIX-N, by tokens signed with the data directory's key",
    )
    parser.add_argument(
        "--behaviour", choices=sorted(BEHAVIOURS), default="wander", help="(default %(default)s)"
    )
    parser.add_argument(
        "--talk",
        type=float,
        default=0.0,
        metavar="PER_MINUTE",
        help="how often each says something to its neighbours",
    )
    parser.add_argument(
        "--ramp",
        type=_at_least(1),
        default=200,
        metavar="PER_S",
        help="connections opened a second (default 200)",
    )
    parser.add_argument("--seed", type=int, default=1, metavar="K", help="of all decisions (default 1)")
    parser.add_argument(
        "--sources",
        type=int,
        default=1,
        metavar="K",
        help="come from K addresses 127.0.0.x, past the limit per address",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="histograms as an image (.png, .svg)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; answers the exit code."""
    complaints = Console(stderr=True)
    try:
        target = parse_target(args.url or _own_server())
        check_sources(target, args.sources)
        plan = Plan(
            target=target,
            count=args.count,
            seconds=0 if args.resident else args.seconds,
            behaviour=args.behaviour,
            ramp_per_s=args.ramp,
            seed=args.seed,
            tokens=_tokens(args),
            talk_per_minute=args.talk,
            sources=args.sources,
            resident=args.resident,
        )
        if not args.resident:
            _reach(target)
        fleet = Fleet(plan, KINDS.get(plan.behaviour, Bot))
        with Progress(plan, complaints) as progress:
            fleet.on_progress = progress.show
            result = fleet.run()
    except FleetError as error:
        complaints.print(f"[red]{error}[/]", highlight=False)
        return NOT_STARTED
    if args.resident:
        return PASSED
    report.show(result, Console(stderr=args.json))
    if args.picture is not None:
        report.picture(result, args.picture)
    if args.json:
        print(json.dumps(report.figures(result)))
    return PASSED if result.passed else FAILED


def _own_server() -> str:
    """Where the server of these settings listens. Raises FleetError."""
    try:
        port = load_config().server.port
    except ConfigError as error:
        raise FleetError(str(error)) from None
    if port == 0:
        raise FleetError("server.port is 0, a free one: name the one that the server printed, with --url.")
    return f"ws://127.0.0.1:{port}/"


def _reach(target: Target) -> None:
    """Raises FleetError when nobody listens there."""
    try:
        socket.create_connection((target.address, target.port), REACH_TIMEOUT_S).close()
    except OSError as error:
        raise FleetError(
            f"No server answers at {target.authority} ({error}). Start one with `landworld serve`, or name another with --url."
        ) from None


def _tokens(args: argparse.Namespace) -> tuple[str, ...]:
    if args.name is not None:
        return _signed(args.name, args.count)
    if args.tokens is None:
        return ()
    try:
        tokens = tuple(args.tokens.read_text().split())
    except OSError as error:
        raise FleetError(f"cannot read {args.tokens}: {error.strerror}") from None
    if len(tokens) < args.count:
        raise FleetError(f"{args.tokens} holds {len(tokens)} tokens for {args.count} bots")
    return tokens[: args.count]


def _signed(prefix: str, count: int) -> tuple[str, ...]:
    """Tokens as `landworld token` makes them."""
    try:
        config = load_config()
        signer = Signer(load_signing(config))
        names = [prefix] if count == 1 else [f"{prefix}-{number}" for number in range(1, count + 1)]
        return tuple(signer.access(name, time.time(), config.session.token_days) for name in names)
    except (ConfigError, ValueError, OSError) as error:
        raise FleetError(f"cannot sign tokens: {error}") from None


def _at_least(least: int) -> Callable[[str], int]:
    def whole(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{value} is less than {least}")
        return value

    return whole
