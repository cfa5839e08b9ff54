"""`landworld audit` as a person calls it."""

import argparse
import asyncio
import json
from pathlib import Path

import asyncpg
import pytest

from persistence.embedded import DataDirectory, EmbeddedPostgres, running_dsn
from persistence.migrations import migrate
from persistence.store import Batch, Store
from tests.conftest import POOL_SIZE, START_S, TICK_HZ
from tests.persistence.support import Chronicle, claim
from tests.world.support import ADA
from tools import audit


def call(*words: str) -> int:
    parser = argparse.ArgumentParser()
    audit.add_parser(parser.add_subparsers())
    arguments = parser.parse_args(["audit", *words])
    return int(arguments.run(arguments))


async def store_history(dsn: str, entries: int = 3) -> None:
    told = Chronicle()
    for place in range(entries):
        told.do(ADA, claim(2 * place, 0))
    store = await Store.open(dsn, POOL_SIZE)
    await store.save((await store.open_world(7, TICK_HZ)).epoch, Batch(1, entries=told.entries))
    await store.close()


async def execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute(statement)
    await connection.close()


def test_all_well_is_0_and_a_trouble_is_1_and_words(dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(store_history(dsn))
    assert call("--dsn", dsn, "--json") == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("Entries 1 to 3: all is well")
    outcome = json.loads(shown[-1])
    assert (outcome["entries"], outcome["troubles"]) == (3, [])
    asyncio.run(execute(dsn, "DELETE FROM journal WHERE seq = 2"))
    assert call("--dsn", dsn, "--json") == 1
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "WRONG: entry 2 is missing"
    assert shown[-2].endswith("things are wrong.")
    assert json.loads(shown[-1])["troubles"][0] == "entry 2 is missing"


def test_one_thing_is_wrong(dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(store_history(dsn))
    asyncio.run(execute(dsn, "UPDATE world SET last_parcel_id = 1"))
    assert call("--dsn", dsn) == 1
    assert capsys.readouterr().out.endswith("Entries 1 to 3: 1 thing is wrong.\n")


def test_the_database_of_a_directory_is_started_for_it_or_used_where_it_runs(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Guard: what was running before is left running."""

    async def live() -> None:
        with DataDirectory(data) as directory:
            postgres = EmbeddedPostgres(directory.path, print, START_S)
            dsn = await postgres.start()
            await migrate(dsn, print)
            await store_history(dsn)
            assert running_dsn(data) == dsn
            assert await asyncio.to_thread(call, "--data", str(data)) == 0
            assert running_dsn(data) == dsn
            await postgres.stop()

    asyncio.run(live())
    assert running_dsn(data) is None
    assert call("--data", str(data)) == 0
    assert running_dsn(data) is None
    assert capsys.readouterr().out.count("all is well") == 2


def test_a_directory_without_a_database_is_told_and_left_empty(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Guard: has_database. Without it a world would be made there, and found well."""
    assert call("--data", str(data)) == 1
    assert "there is no database in" in capsys.readouterr().err
    assert list(data.iterdir()) == []


def test_progress_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    progress = audit.Progress()
    for done in range(10_000, 110_000, 10_000):
        progress(done, 100_000)
    assert capsys.readouterr().err.splitlines() == [
        "  50,000 of 100,000 entries",
        "  100,000 of 100,000 entries",
    ]
