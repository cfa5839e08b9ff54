"""Real crashes under load: what was acknowledged is there, once, and nothing was told that is not.

`landworld crash` does the same for longer. The players' own record (tools/crash/oracle.py) is held against the database after each
fault; these tests ask that it found nothing.
"""

from pathlib import Path

import pytest

from tools.crash.faults import POSTGRES, SERVER, Kind, after_commit, any_time, before_commit, strike
from tools.crash.host import Host, kill
from tools.crash.outages import OUTAGES
from tools.crash.trial import trial

SEED = 4
WARM_UP_ANSWERS = 20
OUTAGE_S = 5.0


async def crashed(data: Path, kinds: list[Kind]) -> list[str]:
    """The promises that were broken."""
    host = Host(data / "data", {})
    try:
        async with trial(host, host.dsn, SEED) as running:
            await running.until_answers(WARM_UP_ANSWERS)
            for kind in kinds:
                await strike(running, kind)
            return running.oracle.violations
    finally:
        if host.alive:
            kill(host.processes())
        kill(host.database())


async def test_kills_of_the_server_lose_double_and_foretell_nothing(data: Path) -> None:
    """Guards: Withheld.release waits for the disk; Actions._look_up finds what was done before the restart."""
    points = (before_commit, after_commit, any_time)
    assert await crashed(data, [kind for kind in SERVER if kind.strike in points]) == []


async def test_kills_of_postgres_lose_and_double_nothing_and_all_goes_on_by_itself(data: Path) -> None:
    """Guards: EmbeddedPostgres._watch starts it again; Journal.settle comes after the commit, so what failed is sent again."""
    names = ("postgres", "one backend", "both at once")
    assert await crashed(data, [kind for kind in POSTGRES if kind.name in names]) == []


@pytest.mark.parametrize("name", OUTAGES)
async def test_outage(name: str, data: Path) -> None:
    """All is told UNAVAILABLE or done, walking goes on, and afterwards all goes on by itself.

    Guards: `hangs`: Actions.admit refuses what is overdue. `slow`: Store.save passes over entries that a COMMIT of unknown outcome has
    stored. `disk full`: the journal keeps what could not be stored. `takeover`: the epoch in every write.
    """
    try:
        outage = await OUTAGES[name](data, OUTAGE_S, SEED)
    except PermissionError as error:
        pytest.skip(str(error))
    assert outage.oracle.violations == []
    assert outage.entries > WARM_UP_ANSWERS
