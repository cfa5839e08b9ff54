"""`landworld logins`: people who sign in, many at once, or one after the other with a stopwatch.

    storm      so many sign-ins a second, each over a socket of its own, whatever the server makes of them: a load to measure beside
    compare    a server of its own; as many names that have an account as names that have none, in turns, each once and with a wrong
               password: the medians and their ratio
    accounts   makes accounts, or signs in to those of an earlier run, and prints an access token a line, for `landworld bots --tokens`

Who makes a storm from one address meets the limits of an address (`limits.account_requests_per_address`,
`accounts.requests_per_address_max`, `limits.connects_per_address`); what is refused is counted by its code. Many accounts from one
address need a higher `limits.registrations_per_address`.

Exit codes: 0 when it went as it should, 1 when sign-ins failed that must not, 2 when it could not begin.
"""

import argparse
import asyncio
import json
import secrets
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from statistics import median, quantiles

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from protocol import codec
from protocol.errors import RefusalCode
from protocol.messages import SUBPROTOCOL, AccountLogin, AccountRegister, ClientMessage, Ok, Refused
from server.config import load_config

PASSWORD = "nobody's horse is on this roof"  # noqa: S105 (of accounts that are there to be measured)
WRONG = "everybody's horse is on this roof"
AT_ONCE = 16  # sockets that make accounts together
PER_SOCKET = 10  # requests: under the burst of limits.rates.account
ANSWER_S_MAX = 60.0
PAUSE_S = 0.25  # after a refusal that says to wait
ATTEMPTS_MAX = 400
RATIO_MAX = 1.05  # of the medians: what is further apart could be told apart
# For `compare`: nothing but the hash shall take time, and no rate shall stop a list of names from one address.
UNLIMITED = {
    "accounts.failures_per_address.burst": 100_000,
    "limits.rates.account.burst": 100_000,
    "limits.connects_per_address.burst": 100_000,
    "limits.account_requests_per_address.burst": 100_000,
    "limits.registrations_per_address.burst": 100_000,
}

PASSED, FAILED, NOT_STARTED = 0, 1, 2


@dataclass(slots=True)
class Figures:
    """What became of a storm."""

    took_ms: list[float] = field(default_factory=list)  # of those that were granted
    refused: Counter[str] = field(default_factory=Counter)
    lost: int = 0

    def report(self, seconds: float) -> dict[str, object]:
        """For people and programs."""
        took = sorted(self.took_ms)
        p99 = quantiles(took, n=100)[98] if len(took) > 1 else 0.0
        return {
            "sign_ins_per_s": round(len(took) / seconds, 1),
            "granted": len(took),
            "refused": dict(self.refused),
            "lost": self.lost,
            "answer_ms_p50": round(median(took), 1) if took else 0.0,
            "answer_ms_p99": round(p99, 1),
        }


class Line:
    """A socket that nobody plays on: requests and their answers, one after the other."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ids = count(1)

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str) -> "AsyncIterator[Line]":
        """Connected, and closed at the end."""
        async with connect(url, subprotocols=[Subprotocol(SUBPROTOCOL)], compression=None) as socket:
            yield cls(socket)

    def next_id(self) -> int:
        """For the next request."""
        return next(self._ids)

    async def ask(self, request: ClientMessage) -> Ok | Refused:
        """The answer to a request."""
        await self._socket.send(codec.encode(request))
        async with asyncio.timeout(ANSWER_S_MAX):
            while True:
                data = await self._socket.recv()
                assert isinstance(data, bytes)
                for message in codec.decode_server(data):
                    if isinstance(message, Ok | Refused):
                        return message

    async def log_in(self, name: str, password: str = PASSWORD) -> Ok | Refused:
        """One attempt."""
        return await self.ask(AccountLogin(self.next_id(), name, password))


def add_parser(sub: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register `landworld logins`."""
    parser = sub.add_parser(
        "logins",
        help="sign-ins by the second, or with a stopwatch",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    kinds = parser.add_subparsers(title="kinds", metavar="KIND", required=True)
    storm = kinds.add_parser("storm", help="so many sign-ins a second against a running server")
    storm.add_argument("--rate", type=float, default=50.0, metavar="PER_S", help="(default %(default)g)")
    storm.add_argument("--seconds", type=float, default=30.0, help="(default %(default)g)")
    storm.set_defaults(run=run_storm)
    made = kinds.add_parser("accounts", help="make accounts and print access tokens")
    made.set_defaults(run=run_accounts)
    for one in (storm, made):
        one.add_argument("--url", help="the game socket (default: that of these settings)")
        one.add_argument(
            "--prefix", default="Sleeper", help="accounts PREFIX-1, PREFIX-2, ... (default %(default)s)"
        )
        one.add_argument("--count", type=int, default=20, help="how many accounts (default %(default)s)")
    compare = kinds.add_parser("compare", help="known and unknown names with a stopwatch")
    compare.add_argument("--pairs", type=int, default=2_000, help="of each (default %(default)s)")
    compare.set_defaults(run=run_compare)
    for one in (storm, compare):
        one.add_argument("--json", action="store_true", help="one JSON object as the last line")


def run_storm(args: argparse.Namespace) -> int:
    """Signs in at a rate; answers the exit code."""

    async def begin() -> Figures:
        names = [f"{args.prefix}-{number}" for number in range(1, args.count + 1)]
        await sign_in_all(_url(args), names)
        return await storm(_url(args), names, args.rate, args.seconds)

    try:
        figures = asyncio.run(begin())
    except (OSError, InvalidHandshake) as error:
        return _cannot(error)
    _print(figures.report(args.seconds), args.json)
    return FAILED if figures.lost else PASSED


def run_accounts(args: argparse.Namespace) -> int:
    """Prints a token a line; answers the exit code."""
    names = [f"{args.prefix}-{number}" for number in range(1, args.count + 1)]
    try:
        tokens = asyncio.run(sign_in_all(_url(args), names))
    except (OSError, InvalidHandshake) as error:
        return _cannot(error)
    print(*tokens, sep="\n")
    return PASSED


def run_compare(args: argparse.Namespace) -> int:
    """Times both kinds on a server of its own; answers the exit code."""
    from tools.bench.live import BenchError, live_server  # the benches use what is here

    try:
        with live_server(UNLIMITED) as server:
            known_ms, unknown_ms = asyncio.run(_compare(server.url, args.pairs))
    except BenchError as error:
        return _cannot(error)
    known, unknown = median(known_ms), median(unknown_ms)
    ratio = known / unknown
    figures = {
        "pairs": args.pairs,
        "known_ms_p50": round(known, 2),
        "unknown_ms_p50": round(unknown, 2),
        "ratio": round(ratio, 4),
    }
    _print(figures, args.json)
    return PASSED if 1 / RATIO_MAX < ratio < RATIO_MAX else FAILED


async def sign_in_all(url: str, names: Iterable[str]) -> list[str]:
    """Access tokens of accounts of these names, which are made where there are none."""
    waiting = list(names)
    parts = [waiting[start : start + PER_SOCKET] for start in range(0, len(waiting), PER_SOCKET)]
    places = asyncio.Semaphore(AT_ONCE)

    async def part(some: list[str]) -> list[str]:
        async with places, Line.open(url) as line:
            return [await _sign_in(line, name) for name in some]

    return [token for tokens in await asyncio.gather(*map(part, parts)) for token in tokens]


async def _sign_in(line: Line, name: str) -> str:
    """A token, whatever it takes. Raises OSError where it cannot be had."""
    register = AccountRegister(0, secrets.token_bytes(16), name, "", PASSWORD)
    for _ in range(ATTEMPTS_MAX):
        register.request_id = line.next_id()
        answer = await line.ask(register)
        if isinstance(answer, Refused) and answer.code is RefusalCode.NAME_TAKEN:
            answer = await line.log_in(name)
        if isinstance(answer, Ok):
            return str(answer.result["access_token"])
        if answer.code not in (RefusalCode.RATE_LIMITED, RefusalCode.UNAVAILABLE):
            raise OSError(f"{name}: {answer.message}")
        await asyncio.sleep((answer.retry_after_ms or 0) / 1_000 or PAUSE_S)
    raise OSError(f"{name}: the server is too busy")


async def storm(url: str, names: list[str], rate: float, seconds: float) -> Figures:
    """One sign-in after the other is begun, at its time, whether those before are answered or not."""
    figures, loop = Figures(), asyncio.get_running_loop()
    tasks: list[asyncio.Task[None]] = []
    began = loop.time()

    async def one(name: str) -> None:
        start = loop.time()
        try:
            async with Line.open(url) as line:
                answer = await line.log_in(name)
        except (OSError, ConnectionClosed, InvalidHandshake, TimeoutError):
            figures.lost += 1
            return
        if isinstance(answer, Ok):
            figures.took_ms.append((loop.time() - start) * 1_000)
        else:
            figures.refused[answer.code.name] += 1

    for number in range(round(rate * seconds)):
        await asyncio.sleep(max(0.0, began + number / rate - loop.time()))
        tasks.append(asyncio.create_task(one(names[number % len(names)])))
    await asyncio.gather(*tasks)
    return figures


async def _compare(url: str, pairs: int) -> tuple[list[float], list[float]]:
    """Milliseconds of attempts with names that are known, and that are not."""
    known = [f"Known-{number}" for number in range(pairs)]
    await sign_in_all(url, known)
    took: tuple[list[float], list[float]] = [], []
    async with Line.open(url) as line:
        for number, name in enumerate(known):
            for kind, who in ((0, name), (1, f"Where-{number}")):
                start = time.perf_counter()
                answer = await line.log_in(who, WRONG)
                took[kind].append((time.perf_counter() - start) * 1_000)
                assert isinstance(answer, Refused), "a wrong password was taken"
                assert answer.code is RefusalCode.BAD_CREDENTIALS, answer
    return took


def _url(args: argparse.Namespace) -> str:
    return args.url or f"ws://127.0.0.1:{load_config().server.port}/"


def _print(figures: dict[str, object], as_json: bool) -> None:
    for name, value in figures.items():
        print(f"{name:>20}  {value}", file=sys.stderr if as_json else sys.stdout)
    if as_json:
        print(json.dumps(figures))


def _cannot(error: Exception) -> int:
    print(f"It cannot begin: {error}", file=sys.stderr)
    return NOT_STARTED
