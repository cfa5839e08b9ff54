"""A world that runs is audited and saved, and lives on in another directory."""

import asyncio
import json
from pathlib import Path

from protocol.messages import LandMine, Ok, ReceiptGet, WalletStatement
from tests.harness import Client, ServerProcess, serving
from tests.integration.test_market import DONE, claim


def test_a_saved_world_lives_on_elsewhere_with_its_players_land_and_keys(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "world.zip"
    with serving(data / "one") as server:
        first, ticket = asyncio.run(_claims(server))
        audited = json.loads(server.command("audit", "--json").splitlines()[-1])
        assert (audited["entries"], audited["troubles"]) == (1, [])
        saved = json.loads(server.command("backup", str(file), "--with-keys", "--json").splitlines()[-1])
        assert (saved["seq"], saved["digest"]) == (1, audited["digest"])
        assert "land_claim by Ada" in server.command("journal", "show", "--player", "ada")
        assert "Nothing is old enough" in server.command("journal", "prune", "--keep-days", "0")
        assert server.metric("landworld_market_open") == 1
    other = ServerProcess(data / "two")
    assert "Entries 1 to 1: all is well" in other.command("restore", str(file))
    with serving(data / "two") as server:
        asyncio.run(_finds_all(server, first, ticket, tmp_path / "receipt.json"))
        said = server.command("receipt", str(tmp_path / "receipt.json"))
        assert "Entry 1 is as it was signed" in said


async def _claims(server: ServerProcess) -> tuple[Ok, str]:
    player = await Client.join(server, server.token("Ada"))
    answer = await claim(player, DONE)
    assert isinstance(answer, Ok)
    ticket = player.welcome.resume
    await player.leave()
    return answer, ticket


async def _finds_all(server: ServerProcess, first: Ok, ticket: str, file: Path) -> None:
    """The ticket is good, the land is there, the action is known, money is in the statement, and receipts are signed."""
    player = await Client.join(server, resume=ticket)
    assert player.welcome.name == "Ada"
    mine = await player.ask(LandMine(next(player.ids)))
    assert isinstance(mine, Ok)
    assert [parcel["parcel_id"] for parcel in mine.result["parcels"]] == [first.result["parcel_id"]]
    again = await claim(player, DONE)
    assert isinstance(again, Ok)
    assert (again.seq, again.result) == (first.seq, first.result)
    statement = await player.ask(WalletStatement(next(player.ids)))
    assert isinstance(statement, Ok)
    assert statement.result["begins"] == 1
    assert {posting["seq"] for posting in statement.result["postings"]} == {first.seq}
    receipt = await player.ask(ReceiptGet(next(player.ids), first.seq))
    assert isinstance(receipt, Ok)
    file.write_bytes(receipt.result["receipt"])
    await player.leave()
