"""`landworld receipt` as a person calls it, who has nothing but the file."""

import argparse
import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from protocol.messages import LandTake, LandTransfer, SaleEnd
from server.receipts import Notary, concerns, is_secret
from tests.persistence.support import Chronicle, claim
from tests.world.support import ADA, BEA, CAL, ids
from tools import receipt
from world.bidding import Standing, Terms
from world.entries import BEGINNING, NOBODY, Outcome, Record, chained, read, write
from world.parcels import Freed
from world.sales import NO_HOLD, Auction, FeeTerms, Inspection
from world.settlement import LAND_FORFEITED, LEASE_ENDED, Settled


def call(*words: str) -> int:
    parser = argparse.ArgumentParser()
    receipt.add_parser(parser.add_subparsers())
    arguments = parser.parse_args(["receipt", *words])
    return int(arguments.run(arguments))


@pytest.fixture
def signed(tmp_path: Path) -> tuple[Path, str]:
    """A receipt in a file, and the public key of its world."""
    told = Chronicle()
    told.do(ADA, claim(0, 0))
    told.do(BEA, claim(4, 4))
    notary = Notary.of(tmp_path)
    first, second = told.entries
    file = tmp_path / "receipt.json"
    file.write_bytes(notary.receipt(second.record.decode(), second.digest, first.digest))
    return file, notary.public_key


def test_a_genuine_receipt_is_shown_and_0(
    signed: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    file, key = signed
    assert call(str(file), "--key", key.upper()) == 0
    said = capsys.readouterr().out
    assert '"kind": "land_claim"' in said
    assert said.endswith("Genuine: entry 2, signed with the given key.\n")
    assert call(str(file)) == 0
    assert f"signed with {key}; is that this world's key?" in capsys.readouterr().out


def tampered(file: Path, part: str, old: str, new: str) -> None:
    parts = json.loads(file.read_bytes())
    assert old in parts[part]
    parts[part] = parts[part].replace(old, new)
    file.write_text(json.dumps(parts))


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("entry", "the entry is not as it was signed"),
        ("before", "the entry is not as it was signed"),
        ("digest", "the entry is not as it was signed"),
        ("signature", "the signature does not fit"),
        ("key", "this is no receipt|the signature does not fit"),
    ],
)
def test_a_receipt_that_was_changed_anywhere_is_1(
    signed: tuple[Path, str], capsys: pytest.CaptureFixture[str], part: str, words: str
) -> None:
    """Guards: the chain over entry and digest before, and the signature over the digest, in server/receipts.py."""
    file, _ = signed
    first = json.loads(file.read_bytes())[part][5]
    tampered(file, part, first, "7" if first != "7" else "8")
    assert call(str(file)) == 1
    said = capsys.readouterr().err
    assert any(word in said for word in words.split("|"))


def test_a_receipt_of_another_world_is_1(
    signed: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Guard: --key. Anybody can make a world of their own and sign in it what they like."""
    (tmp_path / "other").mkdir()
    assert call(str(signed[0]), "--key", Notary.of(tmp_path / "other").public_key) == 1
    assert "signed with another key" in capsys.readouterr().err


def test_what_is_no_receipt_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "x"
    for content in (b"", b"\xff\xfe", b"[]", b"{}", b'"text"', b"1", b"null", b"[" * 100_000):
        file.write_bytes(content)
        assert call(str(file)) == 1, content
        assert "this is no receipt" in capsys.readouterr().err
    assert call(str(tmp_path / "none")) == 2


def test_what_is_no_receipt_is_told_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Guard: PARTS. What Python says of a missing key is no help to whoever has the file."""
    (tmp_path / "x").write_bytes(b"{}")
    assert call(str(tmp_path / "x")) == 1
    said = capsys.readouterr().err
    assert said == "NOT genuine: this is no receipt: it needs before, digest, entry, key, signature\n"
    (tmp_path / "x").write_text(
        json.dumps(dict.fromkeys(("before", "digest", "entry", "key", "signature"), 7))
    )
    assert call(str(tmp_path / "x")) == 1
    assert "this is no receipt: a part of it cannot be read" in capsys.readouterr().err


def test_the_public_key_is_printed_where_there_is_one(
    signed: tuple[Path, str], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Guard: no key is made for the asking."""
    assert call("--print-key", "--data", str(signed[0].parent)) == 0
    assert capsys.readouterr().out == f"{signed[1]}\n"
    assert call("--print-key", "--data", str(data)) == 1
    assert "no server has started there" in capsys.readouterr().err
    assert list(data.iterdir()) == []


@pytest.mark.parametrize("words", [("--key", "zz"), ("--key", "00"), ()])
def test_what_can_be_no_key_and_no_file_are_wrong_use(
    signed: tuple[Path, str], words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """Guard: the look at --key. It is not the receipt that is not genuine."""
    try:
        code = call(*words, *([str(signed[0])] if words else []))
    except SystemExit as error:
        code = int(error.code or 0)
    assert code == 2
    assert "64 hexadecimal digits" in (said := capsys.readouterr().err) or "which FILE" in said


def test_what_is_signed_but_no_entry_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Guard: the entry is read as one. With a key of one's own anything can be signed."""
    for entry in ("[1]", "{}", "7"):
        digest = chained(BEGINNING, entry.encode())
        file = tmp_path / "x"
        file.write_bytes(Notary.of(tmp_path).receipt(entry, digest, BEGINNING))
        assert call(str(file)) == 1
        assert "this is no receipt" in capsys.readouterr().err


def test_what_others_would_pay_is_in_no_receipt() -> None:
    """Guard: is_secret. Who sells sees what there was before anybody bid, and who has it in the end all."""
    fee, as_it_is, terms = FeeTerms(0, 0), Inspection(b"", 0, 0), Terms(5, 1, 0, reserve=9)
    begun = Auction(1, 1, ADA, False, fee, as_it_is, terms, False, Standing(9), NO_HOLD, 1, 1)
    led = replace(begun, standing=Standing(9, 5, BEA, 8, 1))
    states = (
        begun,
        led,
        led.over(SaleEnd.SOLD, 3, BEA),
        led.over(SaleEnd.UNSOLD, 3),
        begun.over(SaleEnd.UNSOLD, 3),
    )
    entries = [Record(1, 1, "", NOBODY, "", "", [one], None) for one in states]
    assert [[is_secret(entry, who) for who in (ADA, BEA, CAL)] for entry in entries] == [
        [False, True, True],
        [True, True, True],
        [True, False, True],
        [True, True, True],
        [False, True, True],
    ]


def test_an_entry_concerns_who_did_paid_or_owns() -> None:
    told = Chronicle()
    told.do(ADA, claim(0, 0))
    [aside] = told.set_aside(ADA, 100)
    entries = [read(entry.record) for entry in told.entries]
    assert [[concerns(entry, who) for who in (ADA, BEA, CAL)] for entry in entries] == [
        [True, False, False]
    ] * 2
    assert aside.player_id == 0


@pytest.mark.parametrize("kind", [LAND_FORFEITED, LEASE_ENDED])
def test_an_entry_concerns_who_lost_land_by_it(kind: str) -> None:
    """Guard: the result in receipts.concerns. Without a deposit neither posting nor parcel names who owned or rented the land."""
    told = Chronicle()
    told.do(ADA, claim(0, 0))
    entry = write(told.world.state, kind, Outcome(Settled(1, ADA, BEA), [Freed(1, 0, 0, 1, 1)]), None)
    assert [concerns(read(entry.record), who) for who in (ADA, BEA, CAL)] == [True, True, False]


def test_a_gift_that_is_taken_concerns_who_gave_it() -> None:
    """Guard: giver_id in receipts.FORMERLY. Nothing is posted, and the parcel names the new owner only."""
    told = Chronicle()
    told.do(ADA, claim(0, 0))
    told.do(ADA, LandTransfer(*ids(), 1, BEA))
    [taken] = told.do(BEA, LandTake(*ids(), 1))
    assert [concerns(read(taken.record), who) for who in (ADA, BEA, CAL)] == [True, True, False]
