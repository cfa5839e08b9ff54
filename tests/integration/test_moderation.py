"""Mutes, bans, kicks, reports and blocks over real sockets, on two gateways and over restarts."""

import itertools
import os
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from persistence.embedded import running_dsn
from protocol.errors import CloseCode, RefusalCode
from protocol.messages import (
    PROTOCOL_VERSION,
    BanScope,
    ChatChannel,
    ChatSaid,
    ChatSay,
    ClientMessage,
    Closing,
    Hello,
    LandDescribe,
    ModerationBan,
    ModerationClose,
    ModerationKick,
    ModerationLift,
    ModerationMute,
    ModerationReports,
    MuteChanged,
    Offence,
    Ok,
    PlayerBlock,
    PlayerBlocks,
    PlayerFind,
    PlayerReport,
    PlayerUnblock,
    Refused,
    Role,
    Sanction,
)
from tests.harness import Client, ServerProcess, serving
from tests.integration.conftest import Join

SETTINGS = {"WORLD__SPAWN_RADIUS": 2} | {
    f"LIMITS__RATES__{rate}__{part}": 1_000 for rate in ("CHAT", "MODERATION") for part in ("PER_S", "BURST")
}
NAMES = itertools.count(1)
DAY_MINUTES = 1_440


@pytest.fixture(scope="module", params=[0, 2], ids=["one process", "two gateways"])
def server(request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    with serving(settings=SETTINGS | {"SERVER__GATEWAYS": request.param}) as server:
        yield server


def ids(client: Client) -> tuple[int, bytes]:
    return next(client.ids), os.urandom(16)


async def somebody(server: ServerProcess, join: Join, role: Role = Role.USER) -> Client:
    return await join(token=server.token(f"{role.value}-{next(NAMES)}", role))


async def granted(client: Client, request: ClientMessage) -> dict[str, Any]:
    answer = await client.ask(request)
    assert isinstance(answer, Ok), answer
    result: dict[str, Any] = answer.result
    return result


async def refused(client: Client, request: ClientMessage) -> Refused:
    answer = await client.ask(request)
    assert isinstance(answer, Refused), answer
    return answer


def say(
    client: Client, text: str, channel: ChatChannel = ChatChannel.NEARBY, to: int | None = None
) -> ChatSay:
    return ChatSay(next(client.ids), channel, text, to)


async def turned_away(server: ServerProcess, **credentials: str) -> Refused:
    """What a hello is answered with that is refused, and closed."""
    client = await Client.open(server)
    await client.send(Hello(PROTOCOL_VERSION, "tests", **credentials))
    answer = await client.wait(Refused)
    assert (await client.wait_closed())[0] == CloseCode.REFUSED
    return answer


async def rows(server: ServerProcess, statement: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(running_dsn(server.data))
    try:
        return list(await connection.fetch(statement))
    finally:
        await connection.close()


def _says(text: str, said: ChatSaid) -> bool:
    return said.text == text


# --- mutes ---------------------------------------------------------------------------------------------------


async def test_who_is_muted_is_told_why_and_until_when_and_is_heard_by_nobody(
    server: ServerProcess, join: Join
) -> None:
    """Guard: Moderation.silences in Hub._say."""
    judge, loud, other = [
        await somebody(server, join, role) for role in (Role.MODERATOR, Role.USER, Role.USER)
    ]
    result = await granted(judge, ModerationMute(*ids(judge), loud.player_id, "shouting", 30))
    told = await loud.wait(MuteChanged)
    assert (told.muted, told.reason, told.until_ms) == (True, "shouting", result["until_ms"])
    assert 0 < result["until_ms"] - time.time() * 1000 <= 30 * 60_000
    for channel in ChatChannel:
        answer = await refused(loud, say(loud, "but", channel, other.player_id))
        assert answer.code is RefusalCode.MUTED
        assert "shouting" in answer.message
        assert answer.retry_after_ms is not None
        assert 0 < answer.retry_after_ms <= 30 * 60_000
    await granted(judge, ModerationLift(*ids(judge), loud.player_id, Sanction.MUTE, "calm again"))
    assert (await loud.wait(MuteChanged)).muted is False
    await granted(loud, say(loud, "thank you"))
    assert (await other.wait(ChatSaid)).text == "thank you"


async def test_who_comes_in_while_muted_is_told_after_the_welcome(server: ServerProcess, join: Join) -> None:
    """Guard: Hub._bring_up_to_date."""
    judge, loud = await somebody(server, join, Role.MODERATOR), await somebody(server, join)
    await granted(judge, ModerationMute(*ids(judge), loud.player_id, "shouting"))
    again = await join(resume=loud.welcome.resume)
    told = await again.wait(MuteChanged)
    assert (told.muted, told.until_ms) == (True, None)


# --- bans and kicks --------------------------------------------------------------------------------------------


async def test_a_ban_closes_the_line_at_once_and_keeps_the_player_out_whatever_they_show(
    server: ServerProcess, join: Join
) -> None:
    """Guards: Hub.expel, and Moderation.bars in Hub._entered."""
    judge, rogue = await somebody(server, join, Role.MODERATOR), await somebody(server, join)
    name, ticket = rogue.welcome.name, rogue.welcome.resume
    ban = ModerationBan(*ids(judge), rogue.player_id, BanScope.PLAYER, "cheating", DAY_MINUTES)
    await granted(judge, ban)
    closing = await rogue.wait(Closing)
    assert (closing.code, closing.retry_after_ms) == (CloseCode.BANNED, None)
    assert "cheating" in closing.message
    assert "UTC" in closing.message
    assert (await rogue.wait_closed())[0] == CloseCode.BANNED
    for credentials in ({"token": server.token(name)}, {"resume": ticket}):
        answer = await turned_away(server, **credentials)
        assert answer.code is RefusalCode.BANNED
        assert "cheating" in answer.message
        assert answer.retry_after_ms is not None
        assert answer.retry_after_ms > 0
    found = await granted(judge, PlayerFind(next(judge.ids), name))
    assert not found["online"]
    await granted(judge, ModerationLift(*ids(judge), rogue.player_id, Sanction.BAN, "a mistake"))
    assert (await join(resume=ticket)).player_id == rogue.player_id


async def test_who_is_banned_leaves_the_world_at_once_though_their_line_was_lost(
    server: ServerProcess, join: Join
) -> None:
    """Guard: Leave in Hub.send_away; without it they stand there until their time to resume is over."""
    judge, rogue = await somebody(server, join, Role.MODERATOR), await somebody(server, join)
    await judge.wait_until(lambda: rogue.player_id in judge.places)
    rogue.drop()
    await server.until("landworld_players_detached", lambda detached: detached >= 1)
    await granted(judge, ModerationBan(*ids(judge), rogue.player_id, BanScope.PLAYER, "cheating"))
    await server.until("landworld_players_detached", lambda detached: detached == 0)


async def test_a_banned_address_keeps_out_all_but_those_who_keep_the_peace() -> None:
    """Guards: the networks in Moderation.bars, and PASSES_ADDRESS_BANS."""
    with serving(settings=SETTINGS) as server:
        judge = await Client.join(server, server.token("Judge", Role.MODERATOR))
        rogue, bystander = await Client.join(server), await Client.join(server)
        await granted(judge, ModerationBan(*ids(judge), rogue.player_id, BanScope.BOTH, "flooding"))
        for client in (rogue, bystander):
            assert (await client.wait_closed())[0] == CloseCode.BANNED
        assert (await turned_away(server)).code is RefusalCode.BANNED
        again = await Client.join(server, server.token("Judge", Role.MODERATOR))
        await granted(again, ModerationLift(*ids(again), rogue.player_id, Sanction.BAN, "enough"))
        guest = await Client.join(server)
        (stored,) = await rows(server, "SELECT count(*) FROM sanctions")
        assert stored["count"] == 0
        for client in (judge, again, guest):
            await client.leave()


async def test_who_is_kicked_may_come_back_and_an_answer_given_again_kicks_nobody(
    server: ServerProcess, join: Join
) -> None:
    """Guard: `done.new` in Moderation._kick."""
    judge, loud = await somebody(server, join, Role.MODERATOR), await somebody(server, join)
    kick = ModerationKick(*ids(judge), loud.player_id, "come down")
    first = await granted(judge, kick)
    assert (await loud.wait(Closing)).code is CloseCode.KICKED
    assert (await loud.wait_closed())[0] == CloseCode.KICKED
    again = await join(resume=loud.welcome.resume)
    kick.request_id = next(judge.ids)
    assert await granted(judge, kick) == first
    await granted(again, say(again, "here again"))
    other = ModerationKick(next(judge.ids), kick.action_id, judge.player_id, "come down")
    assert (await refused(judge, other)).code is RefusalCode.BAD_REQUEST


# --- who may -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("actor", "subject", "may"),
    [
        (Role.MODERATOR, Role.USER, True),
        (Role.MODERATOR, Role.MODERATOR, False),
        (Role.MODERATOR, Role.ADMIN, False),
        (Role.ADMIN, Role.MODERATOR, True),
        (Role.ADMIN, Role.ADMIN, False),
    ],
)
async def test_one_acts_on_those_below_only(
    server: ServerProcess, join: Join, actor: Role, subject: Role, may: bool
) -> None:
    """Guard: the ranks in moderation._may."""
    one, other = await somebody(server, join, actor), await somebody(server, join, subject)
    acts: list[ClientMessage] = [
        ModerationMute(*ids(one), other.player_id, "shouting", 1),
        ModerationLift(*ids(one), other.player_id, Sanction.MUTE, "calm"),
        ModerationKick(*ids(one), other.player_id, "shouting"),
        ModerationBan(*ids(one), other.player_id, BanScope.PLAYER, "shouting", 1),
        ModerationLift(*ids(one), other.player_id, Sanction.BAN, "calm"),
    ]
    for act in acts:
        answer = await one.ask(act)
        if may:
            assert isinstance(answer, Ok), answer
        else:
            assert isinstance(answer, Refused)
            assert answer.code is RefusalCode.NOT_ALLOWED


async def test_nobody_moderates_themselves(server: ServerProcess, join: Join) -> None:
    """Guard: the ids in moderation._may."""
    admin = await somebody(server, join, Role.ADMIN)
    answer = await refused(admin, ModerationMute(*ids(admin), admin.player_id, "a vow"))
    assert (answer.code, "themselves" in answer.message) == (RefusalCode.NOT_ALLOWED, True)


# --- reports ---------------------------------------------------------------------------------------------------


async def test_a_report_carries_what_the_reporter_could_hear_and_nothing_else(
    server: ServerProcess, join: Join
) -> None:
    """Guard: moderation.evidence."""
    judge, rogue, victim, third = [
        await somebody(server, join, role) for role in (Role.MODERATOR, Role.USER, Role.USER, Role.USER)
    ]
    await granted(rogue, say(rogue, "to all", ChatChannel.WORLD))
    await granted(rogue, say(rogue, "to another", ChatChannel.DIRECT, third.player_id))
    await granted(rogue, say(rogue, "to you", ChatChannel.DIRECT, victim.player_id))
    await granted(victim, say(victim, "stop it", ChatChannel.DIRECT, rogue.player_id))
    await granted(third, say(third, "not theirs", ChatChannel.WORLD))
    await granted(rogue, say(rogue, "near you"))
    filed = await granted(
        victim, PlayerReport(*ids(victim), rogue.player_id, Offence.INSULT, "again and again")
    )
    assert filed["lines"] == 4
    found = await granted(judge, ModerationReports(next(judge.ids), False))
    (report,) = [one for one in found["reports"] if one["report_id"] == filed["report_id"]]
    assert [line["text"] for line in report["lines"]] == ["to all", "to you", "stop it", "near you"]
    assert (report["player_name"], report["text"]) == (rogue.welcome.name, "again and again")
    stored = await rows(server, "SELECT content_sealed FROM reports")
    assert not [row for row in stored if b"again" in row["content_sealed"]]
    again = await refused(victim, PlayerReport(*ids(victim), rogue.player_id, Offence.SPAM, ""))
    assert again.code is RefusalCode.TAKEN
    await granted(judge, ModerationClose(*ids(judge), filed["report_id"], "warned"))
    gone = await refused(judge, ModerationClose(*ids(judge), filed["report_id"], "warned"))
    assert gone.code is RefusalCode.NOT_FOUND
    closed = await granted(judge, ModerationReports(next(judge.ids), True, filed["report_id"] - 1))
    assert (closed["reports"][0]["note"], closed["reports"][0]["closed_by"]) == ("warned", judge.welcome.name)


async def test_so_many_reports_of_one_player_wait_and_a_moderator_does_not_close_what_is_about_them(
    server: ServerProcess, join: Join
) -> None:
    """Guards: `open_max` and the player_id in ModerationStore.report and close_report."""
    judge, accuser = await somebody(server, join, Role.MODERATOR), await join()
    filed = await granted(accuser, PlayerReport(*ids(accuser), judge.player_id, Offence.OTHER, "unfair"))
    own = await refused(judge, ModerationClose(*ids(judge), filed["report_id"], "nonsense"))
    assert own.code is RefusalCode.NOT_ALLOWED
    for _ in range(4):
        other = await join()
        await granted(accuser, PlayerReport(*ids(accuser), other.player_id, Offence.SPAM, ""))
    other = await join()
    over = await refused(accuser, PlayerReport(*ids(accuser), other.player_id, Offence.SPAM, ""))
    assert over.code is RefusalCode.LIMIT_REACHED


# --- blocks ---------------------------------------------------------------------------------------------------------


async def test_who_is_blocked_is_not_heard_and_cannot_tell(server: ServerProcess, join: Join) -> None:
    """Guards: deaf_to in chat.say, and Moderation.hides in Hub._answer_or_look_elsewhere."""
    me, pest, other = [await somebody(server, join) for _ in range(3)]
    assert await granted(me, PlayerBlock(*ids(me), pest.player_id)) == {
        "player_id": pest.player_id,
        "blocked": True,
    }
    for channel in (ChatChannel.NEARBY, ChatChannel.WORLD):
        line = say(pest, f"by {channel.name}", channel)
        assert (await granted(pest, line))["heard_by"] >= 2
        assert (await other.wait(ChatSaid, partial(_says, line.text))).sender_id == pest.player_id
    blocked = await refused(pest, say(pest, "psst", ChatChannel.DIRECT, me.player_id))
    nobody = await refused(pest, say(pest, "psst", ChatChannel.DIRECT, 2**32 - 1))
    assert (blocked.code, blocked.message) == (nobody.code, nobody.message)
    assert not (await granted(pest, PlayerFind(next(pest.ids), me.welcome.name)))["online"]
    assert (await granted(other, PlayerFind(next(other.ids), me.welcome.name)))["online"]
    listed = await granted(me, PlayerBlocks(next(me.ids)))
    assert listed == {"players": [{"player_id": pest.player_id, "name": pest.welcome.name}]}
    again = await join(resume=me.welcome.resume)
    await granted(other, say(other, "for all", ChatChannel.WORLD))
    await again.wait(ChatSaid, lambda said: said.text == "for all")
    assert not [
        one
        for one in (*me.seen, *again.seen)
        if isinstance(one, ChatSaid) and one.sender_id == pest.player_id
    ]
    await granted(again, PlayerUnblock(*ids(again), pest.player_id))
    await granted(pest, say(pest, "hello again", ChatChannel.DIRECT, me.player_id))
    assert (await again.wait(ChatSaid, lambda said: said.text == "hello again")).sender_id == pest.player_id


async def test_a_block_that_is_sent_again_does_not_undo_what_came_after(
    server: ServerProcess, join: Join
) -> None:
    """Guard: moderation_answers; once is once."""
    me, pest = await somebody(server, join), await somebody(server, join)
    block = PlayerBlock(*ids(me), pest.player_id)
    await granted(me, block)
    await granted(me, PlayerUnblock(*ids(me), pest.player_id))
    block.request_id = next(me.ids)
    assert (await granted(me, block))["blocked"] is True
    assert await granted(me, PlayerBlocks(next(me.ids))) == {"players": []}


async def test_one_blocks_so_many_and_never_oneself() -> None:
    """Guard: `blocks_max` in ModerationStore.block."""
    with serving(settings=SETTINGS | {"MODERATION__BLOCKS_MAX": 2}) as server:
        me, *others = [await Client.join(server) for _ in range(4)]
        for other in others[:2]:
            await granted(me, PlayerBlock(*ids(me), other.player_id))
        over = await refused(me, PlayerBlock(*ids(me), others[2].player_id))
        assert over.code is RefusalCode.LIMIT_REACHED
        assert (await refused(me, PlayerBlock(*ids(me), me.player_id))).code is RefusalCode.BAD_REQUEST
        for client in (me, *others):
            await client.leave()


# --- words ------------------------------------------------------------------------------------------------------------


async def test_words_that_are_not_wanted_are_masked_in_talk_and_refused_in_names(
    server: ServerProcess, join: Join
) -> None:
    """Guards: Connection._say, and Actions._unseemly before anything of land is done."""
    one, other = await somebody(server, join), await somebody(server, join)
    await granted(one, say(one, "what the F.u.c.k is this"))
    assert (
        await other.wait(ChatSaid, lambda said: said.sender_id == one.player_id)
    ).text == "what the ******* is this"
    answer = await refused(one, LandDescribe(*ids(one), 1, "Sh1t creek", ""))
    assert answer.code is RefusalCode.UNSEEMLY


# --- over restarts ----------------------------------------------------------------------------------------------------


async def test_mutes_bans_blocks_and_reports_outlive_a_kill_and_each_act_left_a_row(data: Path) -> None:
    """Guard: Moderation.recall; blocks come in with Join."""
    with serving(data, SETTINGS) as server:
        judge = await Client.join(server, server.token("Judge", Role.MODERATOR))
        rogue, loud, me = [await Client.join(server) for _ in range(3)]
        await granted(judge, ModerationBan(*ids(judge), rogue.player_id, BanScope.PLAYER, "cheating"))
        await granted(judge, ModerationMute(*ids(judge), loud.player_id, "shouting", DAY_MINUTES))
        await granted(me, PlayerBlock(*ids(me), loud.player_id))
        await granted(me, PlayerReport(*ids(me), loud.player_id, Offence.SPAM, "too loud"))
        server.kill()
    with serving(data, SETTINGS) as server:
        assert (await turned_away(server, resume=rogue.welcome.resume)).code is RefusalCode.BANNED
        loud, me = (
            await Client.join(server, resume=loud.welcome.resume),
            await Client.join(server, resume=me.welcome.resume),
        )
        assert (await refused(loud, say(loud, "still here"))).code is RefusalCode.MUTED
        assert (await granted(me, PlayerBlocks(next(me.ids))))["players"][0]["player_id"] == loud.player_id
        judge = await Client.join(server, server.token("Judge", Role.MODERATOR))
        await granted(judge, ModerationLift(*ids(judge), loud.player_id, Sanction.MUTE, "calm"))
        line = say(loud, "a word", ChatChannel.WORLD)
        await granted(loud, line)
        await judge.wait(ChatSaid, lambda said: said.text == "a word")
        await granted(judge, say(judge, "another", ChatChannel.WORLD))
        await me.wait(ChatSaid, lambda said: said.text == "another")
        assert not [one for one in me.seen if isinstance(one, ChatSaid) and one.text == "a word"]
        assert len((await granted(judge, ModerationReports(next(judge.ids), False)))["reports"]) == 1
        audit = await rows(
            server,
            "SELECT act, via, actor_name, subject_id, reason, address_sealed FROM moderation_audit ORDER BY audit_id",
        )
        assert [row["act"] for row in audit] == [
            "moderation_ban",
            "moderation_mute",
            "player_report",
            "moderation_lift",
        ]
        assert {row["via"] for row in audit} == {"game"}
        assert audit[0]["actor_name"] == "Judge"
        assert all(b"127.0.0.1" not in row["address_sealed"] for row in audit)
        for client in (loud, me, judge):
            await client.leave()
