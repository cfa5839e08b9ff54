"""One world under load, with its players, its oracle and its audit: what the faults happen to.

async with trial(host, dsn) as crowd:     the server is up, the players are in and busy
    ...                                   a fault
    await crowd.settle()                  all are back, all is answered, and all is checked
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import asyncpg

from persistence.keyring import Ring
from persistence.store import wait_until_reachable
from protocol.messages import LandMine, Ok, Refused, Wallet
from server.auth import Signer
from tools.crash.audit import Audit
from tools.crash.deeds import Memory
from tools.crash.host import KEY, LOOK_S, Host
from tools.crash.oracle import Oracle
from tools.crash.player import Player

PLAYERS = 10
SETTLE_S = 240.0  # until all is answered after a fault; on an idle machine it takes three
COMPARE_MAX = 8  # attempts at a moment in which nothing changes by itself
LOOK_AGAIN_S = 0.002  # for what must be seen as soon as it happens


class Trial:
    """The players of a server. `host` may be exchanged for another one of the same world."""

    def __init__(self, host: Host, dsn: str, random: Random) -> None:
        self.host = host
        self.dsn = dsn
        self.random = random
        self.oracle = Oracle()
        self.audit = Audit()
        self.memory = Memory()
        signer = Signer(Ring.of(KEY.encode()))
        tokens = [signer.access(f"crash {number}", time.time(), days=1) for number in range(PLAYERS)]
        self.players = [
            Player(token, lambda: self.host.url, self.oracle, self.memory, Random(random.random()))  # noqa: S311 (a test run)
            for token in tokens
        ]

    # --- load

    def work(self, busy: bool = True) -> None:
        """All ask for new things, or only for what is open."""
        for player in self.players:
            player.busy = busy

    async def load(self, seconds: float) -> None:
        """So much time under load."""
        self.work()
        await asyncio.sleep(seconds)

    async def until_answers(self, count: int) -> None:
        """Under load until so many more actions were acknowledged."""
        self.work()
        wanted = self.oracle.acknowledged + count
        await self.until(lambda: self.oracle.acknowledged >= wanted)

    async def until(self, holds: Callable[[], bool], seconds_max: float = SETTLE_S) -> None:
        """Waits until something holds. Raises TimeoutError."""
        async with asyncio.timeout(seconds_max):
            while not holds():  # noqa: ASYNC110 (sockets and clocks, of many players)
                await asyncio.sleep(LOOK_AGAIN_S)

    async def until_here(self) -> None:
        """Waits until all are in the world."""
        await self.until(lambda: all(player.here for player in self.players))

    # --- what is so

    async def settle(self) -> None:
        """Lets all come back and be answered, and checks everything."""
        self.work(False)
        try:
            await self.until(lambda: all(player.here and not player.open for player in self.players))
        except TimeoutError:
            away = sum(not player.here for player in self.players)
            waiting = sum(len(player.open) for player in self.players)
            self.oracle.wrong(
                f"after {SETTLE_S:.0f} s {away} players are away, {waiting} requests not answered"
            )
            return
        # It may have been killed, and nobody has asked for anything since.
        await wait_until_reachable(self.dsn, _quietly, SETTLE_S)
        differences: list[str] = []
        for _ in range(COMPARE_MAX):
            with contextlib.suppress(ConnectionError):  # refused while the database is still away
                differences = await self._differences()
                if not differences:
                    return
        self.oracle.violations += differences or ["the server tells nothing of land and money"]

    async def check(self) -> None:
        """The oracle against what is stored; also under load."""
        await self.oracle.check(self.audit, self.dsn)

    async def _differences(self) -> list[str]:
        """What the server tells of land and money when nobody asks for anything, against the tables.

        Terms of leases end by themselves meanwhile: a balance may be any that was stored while it was asked for.
        """
        await self.check()
        began, before = self.audit.seq, dict(self.audit.balances)
        told = [await self._told(player) for player in self.players]
        await self.check()
        found: list[str] = []
        for player, (balance, parcels) in zip(self.players, told, strict=True):
            account = player.player_id
            passed = {
                amount for one, seq, amount in self.audit.balances_told if one == account and seq > began
            }
            if account in before and balance not in passed | {before[account]}:
                found.append(f"{balance} in the wallet of player {account}, {before[account]} is stored")
            theirs = sorted(key for key, one in self.audit.parcels.items() if account in _concerned(one))
            if parcels != theirs:
                found.append(f"player {account} is told to have, or be given, {parcels}; stored is {theirs}")
            found += self.oracle.built(account, player.built, self.audit)
        return found

    async def _told(self, player: Player) -> tuple[int, list[int]]:
        """The balance, and the parcel_ids of what a player owns, rents, or is given, as the server says."""
        wallet = _result(await player.question(Wallet(0)))
        parcels: list[int] = []
        page: dict[str, Any] = {"more": True}
        while page["more"]:
            page = _result(await player.question(LandMine(0, parcels[-1] if parcels else None)))
            parcels += [parcel["parcel_id"] for parcel in page["parcels"]]
        return int(wallet["balance"]), parcels

    # --- the server

    async def start(self) -> None:
        """Starts the server again."""
        self.host.start()
        await self.host.until_ready()

    @asynccontextmanager
    async def world_row_held(self) -> AsyncIterator[None]:
        """No flush can be written meanwhile: another transaction holds the row that each of them begins with."""
        connection = await asyncpg.connect(self.dsn)
        try:
            async with connection.transaction():
                await connection.execute("SELECT 1 FROM world FOR UPDATE")
                yield
        finally:
            await connection.close()

    async def until_commit(self) -> None:
        """Returns as soon as a commit of the server is seen in the database, which is before anybody is answered, or nearly."""
        connection = await asyncpg.connect(self.dsn)
        try:
            began = await connection.fetchval("SELECT last_seq FROM world")
            async with asyncio.timeout(SETTLE_S):
                while await connection.fetchval("SELECT last_seq FROM world") == began:  # noqa: ASYNC110 (another process)
                    await asyncio.sleep(0)
        finally:
            await connection.close()

    async def until_metric(self, name: str, holds: Callable[[float], bool]) -> None:
        """Waits for a number of /metrics."""
        async with asyncio.timeout(SETTLE_S):
            while not holds(await asyncio.to_thread(self.host.metric, name)):  # noqa: ASYNC110 (another process)
                await asyncio.sleep(LOOK_S)


def _concerned(parcel: dict[str, Any]) -> set[int]:
    """Owner, tenant, and whom it is given to."""
    lease, given_to = parcel["lease"], parcel["given_to"]
    tenants = {lease["tenant_id"]} if lease else set()
    return {parcel["owner_id"]} | tenants | ({given_to} if given_to else set())


def _quietly(_: str) -> None:
    """Its progress is of no interest."""


def _result(answer: Ok | Refused) -> dict[str, Any]:
    if isinstance(answer, Refused):
        raise ConnectionError(answer.message)
    result: dict[str, Any] = answer.result
    return result


@asynccontextmanager
async def trial(host: Host, dsn: str, seed: int) -> AsyncIterator[Trial]:
    """The server started, its players in. At the end players leave; the server is whoever started it's to stop."""
    running = Trial(host, dsn, Random(seed))  # noqa: S311 (a test run)
    await running.start()
    lives = [asyncio.create_task(player.live()) for player in running.players]
    try:
        await running.until_here()
        yield running
    finally:
        await _leave(running.players, lives)


async def _leave(players: Iterable[Player], lives: "list[asyncio.Task[None]]") -> None:
    for player in players:
        player.leave()
    for life in lives:
        life.cancel()
    await asyncio.gather(*lives, return_exceptions=True)
