"""What goes wrong: each fault is done to a trial under load, and says whom it killed.

Points in a server's life are found by what can be observed, not by switches inside it:

    any time           kill -9 after a random moment
    after a commit     as soon as the database shows one, while its answers are not out, or nearly
    before a commit    entries are in the journal; the row that each flush begins with is held by somebody else
    after an answer    as soon as one client has it
    at the start       while it recovers
    in the stop        between SIGTERM and its end

The database dies as a whole, by its postmaster, or by one backend in the middle of its work; and both die at once.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import asyncpg
import psutil

from tools.crash.host import kill
from tools.crash.trial import Trial

LOAD_S = 1.5  # before a fault at a random moment, at most
START_S = 3.0  # into a start, at most
STOP_S = 0.5  # into a stop, at most
ENTRIES_HELD = 5  # in the journal, before a commit
ANSWERS_AFTER = 10  # to new requests, which show that it goes on

Fault = Callable[[Trial], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Kind:
    """A fault and whom it kills."""

    name: str
    strike: Fault
    kills_server: bool
    kills_postgres: bool = False


# --- the server dies ---


async def any_time(trial: Trial) -> None:
    """After a random moment."""
    await trial.load(trial.random.uniform(0, LOAD_S))
    await trial.host.end(signal.SIGKILL)


async def after_commit(trial: Trial) -> None:
    """As soon as a commit is seen in the database."""
    trial.work()
    await trial.until_commit()
    await trial.host.end(signal.SIGKILL)


async def before_commit(trial: Trial) -> None:
    """Actions were admitted and done in memory, and no flush can have stored them."""
    trial.work()
    async with trial.world_row_held():
        await trial.until_metric("landworld_journal_entries", lambda entries: entries >= ENTRIES_HELD)
        await trial.host.end(signal.SIGKILL)


async def after_answer(trial: Trial) -> None:
    """As soon as one answer has come."""
    await trial.until_answers(1)
    await trial.host.end(signal.SIGKILL)


async def in_start(trial: Trial) -> None:
    """Twice: under load, and while the next one recovers."""
    await any_time(trial)
    trial.host.start()
    await asyncio.sleep(trial.random.uniform(0, START_S))
    await trial.host.end(signal.SIGKILL)


async def in_stop(trial: Trial) -> None:
    """It was asked to stop, and cannot finish."""
    await trial.load(trial.random.uniform(0, LOAD_S))
    trial.host.send(signal.SIGTERM)
    await asyncio.sleep(trial.random.uniform(0, STOP_S))
    await trial.host.end(signal.SIGKILL)


# --- the database dies ---


async def postgres(trial: Trial) -> None:
    """All of it."""
    await trial.load(trial.random.uniform(0, LOAD_S))
    kill(trial.host.database())


async def postmaster(trial: Trial) -> None:
    """Its children see that and end."""
    await trial.load(trial.random.uniform(0, LOAD_S))
    kill(trial.host.database()[:1])


async def backend(trial: Trial) -> None:
    """One that works for the server: the postmaster ends all others and recovers."""
    trial.work()
    connection = await asyncpg.connect(trial.dsn)
    query = (
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'landworld' AND state <> 'idle' LIMIT 1"
    )
    while (pid := await connection.fetchval(query)) is None:  # noqa: ASYNC110 (it is the database that is looked at)
        await asyncio.sleep(0)
    kill([psutil.Process(pid)])
    connection.terminate()


async def both(trial: Trial) -> None:
    """Server and database at once."""
    await trial.load(trial.random.uniform(0, LOAD_S))
    victims = trial.host.database()
    trial.host.send(signal.SIGKILL)
    kill(victims)
    await trial.host.until_ended()


SERVER = (
    Kind("any time", any_time, kills_server=True),
    Kind("after a commit", after_commit, kills_server=True),
    Kind("before a commit", before_commit, kills_server=True),
    Kind("after an answer", after_answer, kills_server=True),
    Kind("in the start", in_start, kills_server=True),
    Kind("in the stop", in_stop, kills_server=True),
)
POSTGRES = (
    Kind("postgres", postgres, kills_server=False, kills_postgres=True),
    Kind("postmaster", postmaster, kills_server=False, kills_postgres=True),
    Kind("one backend", backend, kills_server=False, kills_postgres=True),
    Kind("both at once", both, kills_server=True, kills_postgres=True),
)


async def strike(trial: Trial, kind: Kind) -> None:
    """One fault from load to settled: the server is started again if it died, and all goes on before it is checked."""
    await kind.strike(trial)
    if kind.kills_server:
        await trial.start()
    await trial.until_answers(ANSWERS_AFTER)
    await trial.settle()
