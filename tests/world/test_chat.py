"""Who hears what is said, what is left of a text, and what newcomers are told of before."""

import sys
import unicodedata
from dataclasses import replace
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import Refusal, RefusalCode
from protocol.messages import ChatChannel, Said
from tests.world.support import RULES, World, join, plain
from world.commands import AnyCommand, Detach, Join, Leave, Line, Recall, Say, SetBlocked, steer
from world.state import Rules
from world.text import MARKS_MAX, clean
from world.tick import Events

RADIUS = RULES.chat_radius
LIMIT = RULES.chat_chars_max
NEARBY, EVERYWHERE, DIRECT = ChatChannel.NEARBY, ChatChannel.WORLD, ChatChannel.DIRECT
REQUESTS = count(1)


def say(player_id: int, text: str = "hi", channel: ChatChannel = NEARBY, to: int | None = None) -> Say:
    """A line of a request of its own."""
    return Say(player_id, next(REQUESTS), channel, text, to)


def hearers(events: Events) -> set[int] | None:
    """Who hears the one line that was said."""
    [heard] = events.heard
    if heard.by is None:
        return None
    assert len(heard.by) == len(set(heard.by)), "somebody hears it twice"
    return set(heard.by)


def refusal(events: Events) -> Refusal:
    """The one answer, which is a refusal; and nobody heard anything."""
    [(_, _, answer, _)] = events.answers
    assert isinstance(answer, Refusal)
    assert events.heard == []
    return answer


# --- who hears --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "y", "hears"),
    [
        (0.0, 0.0, True),
        (RADIUS, 0.0, True),
        (0.0, -RADIUS, True),
        (RADIUS + 1e-9, 0.0, False),
        (-RADIUS * 0.6, RADIUS * 0.8, True),
        (-RADIUS * 0.6 - 1e-9, RADIUS * 0.8, False),
        (RADIUS * 0.9, RADIUS * 0.9, False),
    ],
)
def test_nearby_carries_as_far_as_the_radius(x: float, y: float, hears: bool) -> None:
    world = World(*plain(), join(1, 0.0, 0.0), join(2, x, y))
    events = world.do(say(1))
    assert hearers(events) == ({1, 2} if hears else {1})
    assert events.answers == [(1, events.answers[0][1], Said(1 if hears else 0), 0)]


def test_nearby_is_heard_over_the_edges_of_cells_and_from_where_one_stood_when_the_tick_began() -> None:
    world = World(*plain(), join(1, 31.9, -0.1), join(2, 32.1, 0.1), join(3, 31.9 + RADIUS, -0.1))
    assert hearers(world.do(steer(3, 1, 1.0, 0.0), say(1))) == {1, 2, 3}
    assert hearers(world.do(say(1))) == {1, 2}


def test_a_world_line_is_for_everyone_and_counts_the_others() -> None:
    world = World(*plain(), join(1), join(2, 60.0, 60.0), join(3, -60.0, 0.0))
    request = say(1, channel=EVERYWHERE)
    events = world.do(request)
    assert hearers(events) is None
    assert events.answers == [(1, request.request_id, Said(2), 0)]


def test_a_direct_line_is_heard_by_two_wherever_they_are() -> None:
    world = World(*plain(), join(1), join(2, 60.0, 60.0), join(3))
    events = world.do(say(1, channel=DIRECT, to=2))
    assert hearers(events) == {1, 2}
    assert events.heard[0].line.to == 2
    assert events.answers[0][2] == Said(1)


def test_one_may_talk_to_oneself() -> None:
    events = World(*plain(), join(1)).do(say(1, channel=DIRECT, to=1))
    assert hearers(events) == {1}
    assert events.answers[0][2] == Said(0)


@pytest.mark.parametrize("to", [None, 99])
def test_a_direct_line_to_nobody_is_refused_with_advice(to: int | None) -> None:
    answer = refusal(World(*plain(), join(1)).do(say(1, channel=DIRECT, to=to)))
    assert answer.code == RefusalCode.NOT_FOUND
    assert "player_find" in answer.message


def test_who_left_before_hears_nothing_and_who_came_before_does() -> None:
    world = World(*plain(), join(1), join(2))
    assert hearers(world.do(Leave(2), say(1))) == {1}
    assert hearers(world.do(join(3), say(1))) == {1, 3}
    assert refusal(world.do(say(1, channel=DIRECT, to=2))).code == RefusalCode.NOT_FOUND


def test_a_line_says_who_where_and_when() -> None:
    world = World(*plain(), join(1, 3.0, 4.0))
    [heard] = world.do(say(1, " hello \t there ")).heard
    assert heard.line == Line(NEARBY, 1, "p1", "hello there", 2, 3.0, 4.0, None)


# --- who is not heard -------------------------------------------------------------------------------------------------------------


def deaf(player_id: int, *blocked: int) -> Join:
    """Somebody comes in who does not hear these."""
    one = join(player_id)
    one.blocked = list(blocked)
    return one


@pytest.mark.parametrize("channel", [NEARBY, EVERYWHERE])
def test_who_is_blocked_is_not_heard_and_counts_as_if_they_were(channel: ChatChannel) -> None:
    """Guard: deaf_to in chat.say."""
    world = World(*plain(), join(1), deaf(2, 1), join(3))
    events = world.do(say(1, channel=channel))
    assert hearers(events) == {1, 3}
    assert events.answers[0][2] == Said(2)
    assert hearers(world.do(say(2, channel=channel))) == (None if channel is EVERYWHERE else {1, 2, 3})
    assert hearers(world.do(SetBlocked(2, []), say(1, channel=channel))) == (
        None if channel is EVERYWHERE else {1, 2, 3}
    )


def test_a_blocked_direct_line_is_refused_in_the_words_for_nobody() -> None:
    world = World(*plain(), join(1), deaf(2, 1))
    blocked = refusal(world.do(say(1, channel=DIRECT, to=2)))
    nobody = refusal(world.do(say(1, channel=DIRECT, to=99)))
    assert (blocked.code, blocked.message) == (nobody.code, nobody.message)
    assert hearers(world.do(say(2, channel=DIRECT, to=1))) == {1, 2}


def test_history_leaves_out_who_is_blocked() -> None:
    """Guard: blocked_by in chat.history."""
    world = World(*plain(), join(1), join(2))
    world.do(say(1, "from one"), say(2, "from two", EVERYWHERE))
    [joined] = world.do(deaf(3, 1)).joined
    assert [line.text for line in joined.lines] == ["from two"]


def test_who_leaves_is_deaf_to_nobody() -> None:
    """Guard: deafness in tick._remove; else everybody who ever blocked anybody would be kept."""
    world = World(*plain(), join(1), deaf(2, 1))
    world.do(Leave(2))
    assert world.state.deafness.all() == []
    assert world.state.deafness.deaf_to(1) == set()


# --- what is left of a text -------------------------------------------------------------------------------------------------------

TEXTS = [
    ("plain", "plain"),
    ("  two  \t words ", "two words"),
    ("line\nbreak\r\nand\vmore\f", "line break and more"),
    ("next\u0085line\u2028and\u2029paragraph", "next line and paragraph"),
    ("wide\u3000and\u00a0hard\u2009spaces", "wide and hard spaces"),
    ("bell\x07 nul\x00 escape\x1b[31m", "bell nul escape[31m"),
    ("\u202egnp.exe\u202c", "gnp.exe"),
    ("\u2066isolated\u2069\u200e\u200f\u061c", "isolated"),
    ("zero\u200bwidth\ufeff\u2060", "zerowidth"),
    ("soft\u00adhyphen", "softhyphen"),
    ("private\ue000use\U000f0000", "privateuse"),
    ("hidden\U000e0041\U000e0042", "hidden"),
    ("e\u0301", "\u00e9"),
    ("e\u200b\u0301", "\u00e9"),
    ("\u212b", "\u00c5"),
    ("\ufb01", "\ufb01"),
    ("👩\u200d🌾", "👩\u200d🌾"),
    ("❤\ufe0f", "❤\ufe0f"),
    ("می\u200cخواهم", "می\u200cخواهم"),  # noqa: RUF001 (a Persian word)
    ("ক্\u200dষ", "ক্\u200dষ"),
    ("নদীর ধারে", "নদীর ধারে"),
    ("<b>&amp;</b>", "<b>&amp;</b>"),
    ("z" + "\u0330" * 99 + "a\u0330", "z" + "\u0330" * MARKS_MAX + "a\u0330"),
    ("z" + "\u20dd\u200d" * 9, "z" + "\u20dd\u200d" * MARKS_MAX + "\u200d" * (9 - MARKS_MAX)),
    ("z" + "\u0330" * 3 + "\u0cc6\u0330\u0cc2", "z" + "\u0330" * 3 + "\u0cca"),
]


@pytest.mark.parametrize(("text", "left"), TEXTS, ids=[ascii(row[0]) for row in TEXTS])
def test_texts_are_cleaned(text: str, left: str) -> None:
    assert clean(text) == left


ODD = st.sampled_from(
    " \n\u0301\u200b\u200c\u200d\ufe0f\u202e\u0085\u3000\u00ade\u0cc6\u0cc2\u1100\u1161\u11a8"
)


@given(st.text() | st.text(ODD))
def test_a_cleaned_text_holds_nothing_that_deceives(text: str) -> None:
    cleaned = clean(text)
    assert clean(cleaned) == cleaned
    assert unicodedata.is_normalized("NFC", cleaned)
    assert cleaned == " ".join(cleaned.split())
    bad = [one for one in cleaned if unicodedata.category(one)[0] == "C" and one not in "\u200c\u200d"]
    assert bad == []
    drawn = "".join(one for one in cleaned if one not in "\u200c\u200d")
    runs = "".join("m" if unicodedata.category(one) in ("Mn", "Me") else " " for one in drawn).split()
    assert max(map(len, runs), default=0) <= MARKS_MAX


def test_of_all_control_format_and_private_characters_only_space_and_joiners_stay() -> None:
    """All of them, each between two letters."""
    deceivers = [one for one in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(one)[0] == "C"]
    left = [" " if one.isspace() else one if one in "\u200c\u200d" else "" for one in deceivers]
    assert clean("a".join(["", *deceivers, ""])) == "a".join(["", *left, ""])


@pytest.mark.parametrize(
    "text", ["", " ", "\n\t ", "\u200b", "\u200d", "\u200d \u200d", "\ufe0f\u200c", "\u202e\u202c", "\x00"]
)
def test_a_text_of_nothing_is_refused(text: str) -> None:
    assert refusal(World(*plain(), join(1)).do(say(1, text))).code == RefusalCode.BAD_REQUEST


@pytest.mark.parametrize(
    ("text", "accepted"),
    [
        ("x" * LIMIT, True),
        ("x" * (LIMIT + 1), False),
        (" " * 99 + "x" * LIMIT + "\u200b" * 99, True),
        ("e\u0301" * LIMIT, True),
        ("𝄞" * LIMIT, True),
        ("𝄞" * (LIMIT + 1), False),
    ],
)
def test_the_length_counts_what_is_left(text: str, accepted: bool) -> None:
    events = World(*plain(), join(1)).do(say(1, text))
    if accepted:
        assert len(events.heard[0].line.text) == LIMIT
    else:
        assert str(LIMIT) in refusal(events).message


# --- what newcomers are told ------------------------------------------------------------------------------------------------------


def told_on_joining(world: World, *commands: AnyCommand) -> list[str]:
    """The history of whoever joins by the last command."""
    return [line.text for line in world.do(*commands).joined[-1].lines]


def test_newcomers_are_told_world_talk_and_what_was_said_near() -> None:
    world = World(*plain(), join(1, 0.0, 0.0), join(2, 50.0, 0.0))
    world.do(say(1, "near"), say(2, "far"), say(2, "all", EVERYWHERE), say(1, "secret", DIRECT, 2))
    assert told_on_joining(world, join(3, RADIUS, 0.0)) == ["near", "all"]
    assert told_on_joining(world, join(4, 60.0, 0.0)) == ["far", "all"]


def test_both_ends_of_a_direct_line_are_told_it_again() -> None:
    world = World(*plain(), join(1), join(2), join(3))
    world.do(say(1, "secret", DIRECT, 2))
    for player_id, told in ((1, ["secret"]), (2, ["secret"]), (3, [])):
        world.do(Leave(player_id))
        assert told_on_joining(world, join(player_id)) == told


def test_who_is_taken_up_again_is_told_what_was_said_where_they_stand() -> None:
    world = World(*plain(), join(1, 0.0, 0.0), join(2, 50.0, 0.0))
    world.do(Detach(2))
    world.do(say(1, "not here"), say(2, "here"))
    assert told_on_joining(world, join(2, 0.0, 0.0)) == ["here"]


def test_history_is_the_last_lines_oldest_first() -> None:
    world = World(*plain(), join(1))
    for number in range(12):
        world.do(say(1, str(number)))
    assert told_on_joining(world, join(2)) == ["7", "8", "9", "10", "11"]


def test_what_cannot_be_heard_takes_no_room_in_the_history() -> None:
    world = World(*plain(), join(1), join(2, 60.0, 60.0))
    world.do(*(say(1, str(number)) for number in range(4)), *(say(2, "far") for _ in range(4)))
    assert told_on_joining(world, join(3)) == ["0", "1", "2", "3"]


def test_no_more_lines_are_kept_than_the_limit() -> None:
    world = World(*plain(), join(1))
    for number in range(3 * RULES.chat_lines_max):
        world.do(*(say(1, str(number), channel, 1) for channel in ChatChannel))
    assert len(world.state.talk) == len(ChatChannel) * RULES.chat_lines_max


@pytest.mark.parametrize("loud", ChatChannel)
def test_much_talk_in_one_channel_pushes_nothing_out_of_another(loud: ChatChannel) -> None:
    world = World(*plain(), join(1), join(2))
    world.do(*(say(1, channel.name, channel, 2) for channel in ChatChannel))
    for _ in range(RULES.chat_lines_max):
        world.do(say(1, "loud", loud, 2))
    kept = [line.text for _, line in world.state.talk.all() if line.text != "loud"]
    assert kept == [channel.name for channel in ChatChannel if channel != loud]


def test_what_was_pushed_out_is_found_nowhere() -> None:
    """Guard: Talk._forget takes a line out of all that finds it."""
    world = World(*plain(), join(1), join(2, 50.0, 0.0))
    world.do(say(1, "old"), say(1, "secret", DIRECT, 2))
    for _ in range(RULES.chat_lines_max):
        world.do(say(2, "far"), say(2, "to me", DIRECT, 2))
    world.do(Leave(1))
    assert told_on_joining(world, join(1)) == []


@pytest.mark.parametrize("rules", [replace(RULES, chat_lines_on_enter=0), replace(RULES, chat_lines_max=0)])
def test_no_history_is_told_where_none_is_wanted(rules: Rules) -> None:
    world = World(*plain(), join(1), rules=rules)
    world.do(say(1))
    assert told_on_joining(world, join(2)) == []


def test_refused_lines_are_not_remembered() -> None:
    world = World(*plain(), join(1))
    world.do(say(1, ""), say(1, "x", DIRECT, 9))
    assert told_on_joining(world, join(2)) == []


def test_lines_of_before_the_start_come_first() -> None:
    old = [Line(EVERYWHERE, 9, "old", text, -5, 0.0, 0.0, None) for text in ("first", "second")]
    world = World(*plain(), Recall(old), join(1))
    world.do(say(1, "third"))
    assert told_on_joining(world, join(2)) == ["first", "second", "third"]


@pytest.mark.parametrize(
    ("commands", "history", "heard"),
    [
        ([say(1, "hi", EVERYWHERE), join(3)], [], 1),  # everyone hears it, also who came since
        ([join(3), say(1, "hi", EVERYWHERE)], [], 1),
        ([say(1, "hi"), join(3)], ["hi"], 0),
        ([join(3), say(1, "hi")], [], 1),
        ([say(1, "hi"), join(2)], [], 1),  # 2 stood there all the time
        ([say(1, "hi", DIRECT, 2), join(2)], [], 1),
    ],
)
def test_a_line_of_the_tick_one_joins_in_is_told_once(
    commands: list[AnyCommand], history: list[str], heard: int
) -> None:
    events = World(*plain(), join(1), join(2)).do(*commands)
    [joined] = events.joined
    assert [line.text for line in joined.lines] == history
    assert sum(one.by is None or joined.player_id in one.by for one in events.heard) == heard
