"""`landworld journal` as a person calls it."""

import argparse
import asyncio
import re

import pytest

from persistence import store as store_module
from persistence.store import Batch, Entrant, Store, account_key
from protocol.messages import (
    LandAbandon,
    LandDescribe,
    LandEase,
    LandLeave,
    LandLet,
    LandOpen,
    LandPermit,
    LandRent,
    LandTake,
    LandTransfer,
    MarketList,
    Standing,
)
from tests.conftest import POOL_SIZE, TICK_HZ
from tests.persistence.support import Chronicle, build, claim
from tests.tools.test_audit import execute
from tests.world.support import ADA, BEA, CAL, ids
from tools import journal
from world.tiles import Build


def call(*words: str) -> int:
    parser = argparse.ArgumentParser()
    journal.add_parser(parser.add_subparsers())
    arguments = parser.parse_args(["journal", *words])
    return int(arguments.run(arguments))


@pytest.fixture
def history(dsn: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Seven entries in partitions of three."""
    monkeypatch.setattr(store_module, "PARTITION_ENTRIES", 3)

    async def make() -> None:
        await execute(dsn, "DROP TABLE journal_0")
        told = Chronicle()
        told.do(ADA, claim(0, 0, 2, 1))
        told.do(BEA, claim(-4, -4))
        told.do(ADA, build((0, 0, Build.WALL), (31, 0, Build.PATH)))
        told.do(ADA, LandDescribe(*ids(), 1, "Garden", ""))
        told.do(ADA, MarketList(*ids(), 1, 12_345))
        told.set_aside(BEA, 500)
        told.do(BEA, LandAbandon(*ids(), 2))
        store = await Store.open(dsn, POOL_SIZE)
        epoch = (await store.open_world(7, TICK_HZ)).epoch
        await store.enter_players(
            epoch, [Entrant(account_key(name), name, "user", 1, 0.0, 0.0) for name in ("Ada", "Bea", "Cal")]
        )
        await store.save(epoch, Batch(1, entries=told.entries))
        await store.close()

    asyncio.run(make())
    return dsn


def shown(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines of entries, without when they were stored."""
    lines = capsys.readouterr().out.splitlines()
    return [
        re.sub(r"  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d  ", " | ", line.strip())
        for line in lines
        if line.startswith(" ")
    ]


def test_history_is_shown_in_words_oldest_first(history: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("show", "--dsn", history) == 0
    lines = shown(capsys)
    assert lines[0] == (
        "1 | land_claim by Ada: 100 BDT from the treasury (then -100 BDT); 100 BDT to Ada (then 100 BDT); "
        "2 BDT from Ada (then 98 BDT); 2 BDT to the house (then 2 BDT); parcel 1 of Ada, 2 x 1 plots at plot (0, 0)"
    )
    assert lines[2:] == [
        "3 | tile_edit by Ada: 2 tiles of chunk (0, 0)",
        "4 | land_describe by Ada: parcel 1 “Garden” of Ada, 2 x 1 plots at plot (0, 0)",
        "5 | market_list by Ada: sale 5 of parcel 1 by Ada: at 123.45 BDT",
        "6 | test by the world: 5 BDT from Bea (then 94 BDT); 5 BDT to escrow (then 5 BDT); hold 6: 5 BDT of Bea for a bid",
        "7 | land_abandon by Bea: parcel 2 is nobody's",
    ]


def test_only_what_was_asked_for_is_shown(history: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Guards: --player (who did, paid or owns), --parcel, --from, --count."""

    def numbers(*words: str) -> list[int]:
        assert call("show", "--dsn", history, *words) == 0
        return [int(line.split(" ")[0]) for line in shown(capsys)]

    assert numbers("--player", "bea") == [2, 6, 7]
    assert numbers("--player", "Cal") == []
    assert numbers("--parcel", "1") == [1, 4, 5]
    assert numbers("--parcel", "2", "--player", "Bea") == [2, 7]
    assert numbers("--from", "5") == [5, 6, 7]
    assert numbers("--from", "2", "--count", "2") == [2, 3]
    assert call("show", "--dsn", history, "--player", "Nobody") == 1
    assert "there is no player called Nobody" in capsys.readouterr().err


def stored(dsn: str, told: Chronicle) -> None:
    """What a chronicle tells, with its players."""

    async def make() -> None:
        store = await Store.open(dsn, POOL_SIZE)
        epoch = (await store.open_world(7, TICK_HZ)).epoch
        await store.enter_players(
            epoch, [Entrant(account_key(name), name, "user", 1, 0.0, 0.0) for name in ("Ada", "Bea", "Cal")]
        )
        await store.save(epoch, Batch(1, entries=told.entries))
        await store.close()

    asyncio.run(make())


def test_whether_a_hold_was_spent_or_given_back_is_shown(
    dsn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    told = Chronicle()
    told.do(ADA, claim(0, 0, 1, 1))
    told.set_aside(ADA, 300)
    told.set_aside(ADA, 500)
    told.give_back(2)
    told.spend(3, BEA)
    stored(dsn, told)
    assert call("show", "--dsn", dsn, "--from", "4") == 0
    back, spent = shown(capsys)
    assert back.endswith("; hold 2 of Ada is voided")
    assert spent.endswith("5 BDT to Bea (then 5 BDT); hold 3 of Ada is posted")


def test_postings_of_an_account_are_shown_page_by_page_with_its_balance(
    history: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Guards: --count ends a page with a whole entry; whoever has no account yet is no mistake."""

    def page(account: str, *words: str) -> list[str]:
        assert call("show", "--dsn", history, f"--account={account}", *words) == 0
        told = capsys.readouterr().out.splitlines()
        return [
            re.sub(r"  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d  ", " | ", re.sub(r" {3,}", " ", line).strip())
            for line in told[1:]
        ]

    grant, claimed = "2 | land_claim +100 BDT 100 BDT", "2 | land_claim -1 BDT 99 BDT"
    aside = "6 | test -5 BDT 94 BDT"
    for bea in ("bea", "2"):
        assert page(bea) == [grant, claimed, aside]
    assert page("Bea", "--count", "1") == [grant, claimed, "There is more: --from 6"]
    assert page("Bea", "--count", "1", "--from", "6") == [aside]
    assert page("escrow") == ["6 | test +5 BDT 5 BDT"]
    assert page("house")[-1].endswith("+1 BDT 3 BDT")
    assert page("treasury")[-1].endswith("-100 BDT -200 BDT")
    for nothing in ("Cal", "77", "-100"):
        assert page(nothing) == []
    for wrong, code in (("Nobody", 1), ("77777777777777777777", 1)):
        assert call("show", "--dsn", history, "--account", wrong) == code
    assert call("show", "--dsn", history, "--account", "Bea", "--player", "Bea") == 2


def test_what_is_agreed_and_allowed_on_a_parcel_is_shown_as_it_changes(
    dsn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Guards: the facts of a parcel, each once and where it changes; all of them where a parcel comes up first."""

    async def make() -> None:
        told = Chronicle()
        told.do(ADA, claim(0, 0, 2, 1))
        told.do(ADA, LandDescribe(*ids(), 1, "Garden", "Roses"))
        told.do(ADA, LandPermit(*ids(), 1, BEA, Standing.MANAGER))
        told.do(ADA, LandOpen(*ids(), 1, False, True))
        told.do(ADA, LandEase(*ids(), 1, 0, 0, 16, 16))
        told.do(ADA, LandEase(*ids(), 1, 0, 0, 0, 0))
        told.do(ADA, LandLet(*ids(), 1, 500, 5_400_000, 200, True))
        told.do(CAL, LandRent(*ids(), 1, 500))
        told.do(CAL, LandLeave(*ids(), 1))
        told.happen()
        store = await Store.open(dsn, POOL_SIZE)
        await store.save((await store.open_world(7, TICK_HZ)).epoch, Batch(1, entries=told.entries))
        await store.close()

    asyncio.run(make())
    assert call("show", "--dsn", dsn) == 0
    news = [line.split("plots at plot (0, 0), ", 1)[-1] for line in shown(capsys)]
    assert news[1:6] == [
        "described “Roses”",
        "Bea is manager",
        "closed to whom nobody lets in, everybody may build",
        "a way for everybody over 1 x 1 plots at plot (0, 0)",
        "no way for everybody",
    ]
    terms = "at 5 BDT for 1 hour 30 minutes, renewed, deposit 2 BDT"
    assert news[6] == f"to let {terms}"
    assert re.fullmatch(
        f"not to let, let to Cal {terms}, until tick \\d+, Bea has no standing any more", news[7]
    )
    assert re.fullmatch(f"let to Cal {terms}, until tick \\d+, and not longer", news[8])
    assert news[9].endswith("test by the world: nothing was changed")
    assert call("show", "--dsn", dsn, "--from", "9") == 0
    first = shown(capsys)[0]
    for fact in (
        "“Garden”",
        "described “Roses”",
        "closed to whom",
        "everybody may build",
        f"let to Cal {terms}",
    ):
        assert fact in first


def test_what_cannot_be_meant_is_told(history: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Guards: --from, --count and --parcel are looked at; silence would pass for an answer."""
    for words in (("--count", "0"), ("--count", "-3"), ("--from", "0")):
        assert call("show", "--dsn", history, *words) == 2
        assert "--from and --count are 1 or more" in capsys.readouterr().err
    assert call("show", "--dsn", history, "--from", "8") == 1
    assert "there is no entry 8; the last is 7" in capsys.readouterr().err
    assert call("show", "--dsn", history, "--parcel", "3") == 1
    assert "there never was a parcel 3; the last is 2" in capsys.readouterr().err
    assert call("show", "--dsn", history, "--player", "Cal") == 0
    assert "No entry is like that." in capsys.readouterr().err


def test_prune_says_where_history_begins_and_so_does_show(
    history: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("prune", "--dsn", history, "--keep-days", "1") == 0
    assert capsys.readouterr().out == "Nothing is old enough; history begins with entry 1.\n"
    assert call("prune", "--dsn", history, "--keep-days", "0") == 0
    assert capsys.readouterr().out == "Pruned 5 entries; history begins with entry 6.\n"
    assert call("show", "--dsn", history) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "History begins with entry 6."
    assert [line.split()[0] for line in lines[1:]] == ["6", "7"]
    assert call("prune", "--dsn", history, "--keep-days", "-1") == 2


def test_to_whom_land_is_given_is_shown_until_they_take_it(
    dsn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """And is found under the giver's name. Guards: `given` in _facts; the name that _learn looks up; giver_id in receipts.FORMERLY."""

    async def make() -> None:
        told = Chronicle()
        told.do(ADA, claim(0, 0, 1, 1))
        told.do(ADA, LandTransfer(*ids(), 1, BEA))
        told.do(BEA, LandTake(*ids(), 1))
        store = await Store.open(dsn, POOL_SIZE)
        epoch = (await store.open_world(7, TICK_HZ)).epoch
        await store.enter_players(
            epoch, [Entrant(account_key(name), name, "user", 1, 0.0, 0.0) for name in ("Ada", "Bea")]
        )
        await store.save(epoch, Batch(1, entries=told.entries))
        await store.close()

    asyncio.run(make())
    assert call("show", "--dsn", dsn) == 0
    _, given, taken = shown(capsys)
    assert given.endswith("given to Bea, if they take it")
    assert taken.endswith("of Bea, 1 x 1 plots at plot (0, 0), not given away")
    assert call("show", "--dsn", dsn, "--player", "Ada") == 0
    assert len(shown(capsys)) == 3
