"""What counts as evidence, and what becomes of an act whose outcome is not known."""

import asyncio
from typing import Any

import pytest

from persistence.moderation import ADDRESS, Actor, Done, SanctionRow, Subject
from persistence.store import ChatLine, StoreUnavailable
from protocol.errors import CloseCode, Refusal, RefusalCode
from protocol.messages import EVIDENCE_LINES_MAX, BanScope, ChatChannel, ModerationBan, ModerationKick, Role
from server.actions import OVERDUE_S
from server.config import ModerationConfig
from server.moderation import ABOVE_ALL, TOGETHER_MS, Asked, Moderation, _may, evidence
from tests.server.support import Always, until
from world.state import Rules, State

ME, ROGUE, OTHER = 1, 2, 3
NEARBY, WORLD, DIRECT = ChatChannel.NEARBY, ChatChannel.WORLD, ChatChannel.DIRECT
RULES = Rules(20, 4.0, 20, 4, 24.0, 300, 10, 5)
NOW_MS = 1_000_000


def line(
    channel: ChatChannel, sender: int, to: int | None = None, x: float = 0.0, at_ms: int = 0
) -> ChatLine:
    return ChatLine(
        channel, sender, f"p{sender}", to, x, 0.0, at_ms // 50, at_ms, f"{channel.name} by {sender}"
    )


@pytest.mark.parametrize(
    ("said", "counts"),
    [
        (line(WORLD, ROGUE), True),
        (line(WORLD, OTHER), False),
        (line(WORLD, ME), False),
        (line(DIRECT, ROGUE, ME), True),
        (line(DIRECT, ME, ROGUE), True),
        (line(DIRECT, ROGUE, OTHER), False),
        (line(DIRECT, ME, OTHER), False),
        (line(NEARBY, ROGUE, x=24.0), True),
        (line(NEARBY, ROGUE, x=24.1), False),
        (line(NEARBY, ME), False),
    ],
)
def test_evidence_is_what_the_reporter_could_hear_of_them(said: ChatLine, counts: bool) -> None:
    assert len(evidence([said], ME, ROGUE, (0.0, 0.0), 24.0)) == counts


@pytest.mark.parametrize(("apart_ms", "counts"), [(TOGETHER_MS, True), (TOGETHER_MS + 1, False)])
def test_a_nearby_line_counts_where_the_reporter_spoke_at_that_time(apart_ms: int, counts: bool) -> None:
    lines = [line(NEARBY, ROGUE, x=500.0), line(NEARBY, ME, x=510.0, at_ms=apart_ms)]
    assert len(evidence(lines, ME, ROGUE, (0.0, 0.0), 24.0)) == counts
    assert len(evidence(lines, ME, ROGUE, None, 24.0)) == counts


def test_the_last_lines_are_attached() -> None:
    """Guard: EVIDENCE_LINES_MAX."""
    lines = [line(WORLD, ROGUE, at_ms=number) for number in range(EVIDENCE_LINES_MAX + 3)]
    assert [one.said_ms for one in evidence(lines, ME, ROGUE, None, 24.0)] == list(
        range(3, EVIDENCE_LINES_MAX + 3)
    )


class Rows:
    """The tables of moderation, as the test says."""

    def __init__(self) -> None:
        self.fails = 0
        self.subject = Subject(ROGUE, "Rogue", "user")
        self.new = True
        self.acts = 0

    async def act(self, *_: Any) -> Done:
        self.acts += 1
        if self.fails:
            self.fails -= 1
            raise StoreUnavailable("away")
        return Done({"player_id": ROGUE, "name": "Rogue", "until_ms": None}, self.new, self.subject)


class Here:
    """Who is here, and what becomes of them."""

    def __init__(self) -> None:
        self.sent_away: list[tuple[int, CloseCode]] = []
        self.networks: list[str] = []

    def is_here(self, _: int) -> bool:
        return True

    def send_away(self, player_id: int, code: CloseCode, _: str) -> None:
        self.sent_away.append((player_id, code))

    def send_network_away(self, network: str, *_: Any) -> None:
        self.networks.append(network)

    def tell(self, *_: Any) -> None:
        """Nobody listens."""

    def give_role(self, _: Any) -> None:
        """Nobody has another."""


def moderation(rows: Rows, queue_max: int = 2) -> Moderation:
    anything: Any = rows
    flusher: Any = Always()
    made = Moderation(anything, flusher, State(RULES), ModerationConfig(), queue_max, lambda: NOW_MS)
    made.effects = Here()  # type: ignore[assignment]
    return made


BAN = ModerationBan(1, bytes(16), ROGUE, BanScope.PLAYER, "cheating")
JUDGE = Actor(ME, "Judge")


@pytest.mark.parametrize(
    ("reason", "kept"),
    [
        ("rude\n    2026-11-29 world  Bea: \x1b[31mhello\u202e", "rude 2026-11-29 world Bea: [31mhello"),
        ("\u3164\n", ""),
    ],
)
async def test_what_others_read_has_no_line_or_sign_that_deceives(reason: str, kept: str) -> None:
    """Guards: clean and the refusal of nothing in Moderation.ask. At a console a line of the reporter's would look like evidence."""
    peace = moderation(Rows())
    request = ModerationKick(1, bytes(16), ROGUE, reason)
    if kept:
        peace.ask(JUDGE, lambda: ABOVE_ALL, request, lambda _: None)
        assert request.reason == kept
    else:
        with pytest.raises(Refusal, match="Give a reason"):
            peace.ask(JUDGE, lambda: ABOVE_ALL, request, lambda _: None)


async def test_an_act_is_sent_until_its_outcome_is_known_and_then_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Guard: Moderation._known. The first attempt was committed, though nobody heard; what holds is what the database says."""
    monkeypatch.setattr("server.moderation.RETRY_S", 0)
    rows = Rows()
    rows.fails, rows.new = 2, False
    rows.subject = Subject(ROGUE, "Rogue", "user", 0, [SanctionRow(1, ROGUE, "cheating", None)])
    peace, answers = moderation(rows), list[Any]()
    task = peace.start()
    peace.ask(JUDGE, lambda: ABOVE_ALL, BAN, answers.append)
    await until(lambda: bool(answers))
    assert rows.acts == 3
    assert not isinstance(answers[0], Refusal)
    barred = peace.bars(ROGUE, "192.0.2.1", Role.USER)
    assert barred is not None
    assert barred.code is RefusalCode.BANNED
    here: Any = peace.effects
    assert here.sent_away == [(ROGUE, CloseCode.BANNED)]
    await peace.stop()
    assert task.done()


async def test_a_kick_that_was_sent_twice_is_a_kick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guard: `attempts` in Moderation._act: the answer found by the second is the first one's."""
    monkeypatch.setattr("server.moderation.RETRY_S", 0)
    rows = Rows()
    rows.fails, rows.new = 1, False
    peace, answers = moderation(rows), list[Any]()
    peace.start()
    peace.ask(JUDGE, lambda: ABOVE_ALL, ModerationKick(1, bytes(16), ROGUE, "come down"), answers.append)
    await until(lambda: bool(answers))
    here: Any = peace.effects
    assert here.sent_away == [(ROGUE, CloseCode.KICKED)]
    await peace.stop()


async def test_what_is_not_begun_in_time_is_refused_and_the_queue_has_an_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Guards: Moderation.look, and `queue_max` in Moderation.ask."""
    peace, answers = moderation(Rows()), list[Any]()
    for _ in range(2):
        peace.ask(JUDGE, lambda: ABOVE_ALL, BAN, answers.append)
    with pytest.raises(Refusal) as full:
        peace.ask(JUDGE, lambda: ABOVE_ALL, BAN, answers.append)
    assert full.value.code is RefusalCode.UNAVAILABLE
    peace.look()
    assert answers == []
    loop = asyncio.get_running_loop()
    now_s = loop.time()
    monkeypatch.setattr(loop, "time", lambda: now_s + 2 * OVERDUE_S)
    peace.look()
    assert [answer.code for answer in answers] == [RefusalCode.UNAVAILABLE] * 2
    assert peace.waiting == 0


async def test_sanctions_end_by_the_clock_and_addresses_spare_those_who_keep_the_peace() -> None:
    """Guards: is_over in Moderation._in_force, PASSES_ADDRESS_BANS; an IPv6 address is its /64."""
    peace = moderation(Rows())
    peace._put(SanctionRow(0, ROGUE, "shouting", NOW_MS))
    peace._put(SanctionRow(1, ROGUE, "cheating", NOW_MS))
    assert peace.silences(ROGUE) is None
    assert peace.bars(ROGUE, "192.0.2.1", Role.USER) is None
    assert (peace.muted, peace.banned) == (0, 0)
    peace._put(SanctionRow(ADDRESS, ROGUE, "flooding", NOW_MS + 5, "2001:db8::1"))
    barred = peace.bars(OTHER, "2001:db8::2", Role.USER)
    assert barred is not None
    assert barred.retry_after_ms == 5
    assert peace.bars(OTHER, "2001:db8:0:1::2", Role.USER) is None
    assert peace.bars(OTHER, "2001:db8::2", Role.MODERATOR) is None


async def test_who_was_a_moderator_when_they_asked_and_is_none_now_does_nothing() -> None:
    """Guard: `rank` in Asked is asked when it is done."""
    ranks = [2]
    asked = Asked(JUDGE, lambda: ranks[0], BAN, lambda _: None, 0.0)
    _may(asked, Subject(ROGUE, "Rogue", "user"))
    ranks[0] = 1
    with pytest.raises(Refusal):
        _may(asked, Subject(ROGUE, "Rogue", "user"))
