"""Who hears what is said.

Whoever has blocked the speaker does not, on no channel, and the speaker cannot tell: a direct line is refused in the words that also
mean that nobody is there, and `heard_by` counts as if nobody were deaf. Whether somebody may speak at all is no rule of the world
(server/moderation.py).

Text is made clean first (text.py). What is left must not be empty.
"""

import math
from collections.abc import Iterable, Iterator
from itertools import islice

from protocol.errors import Refusal, RefusalCode
from protocol.messages import ChatChannel
from protocol.snapshot import CELL_TILES
from world.commands import Line, Say
from world.grid import around, pack
from world.state import EVERYONE, Entry, State
from world.text import JOINERS, clean

UNREACHABLE = "They cannot be reached now; player_find says whether they can, so try again later."


def say(state: State, command: Say, slot: int, tick: int) -> tuple[Line, list[int] | None, int]:
    """The line, the player_ids that hear it (the speaker among them; None: everyone in the world), and how many others it reached.

    Raises Refusal for an empty or too long text and for a listener who is not here, or deaf.
    """
    rules, players = state.rules, state.players
    text = clean(command.text)
    if not text.strip(JOINERS + " "):
        raise Refusal(RefusalCode.BAD_REQUEST, "There is nothing to say in this text.")
    if len(text) > rules.chat_chars_max:
        raise Refusal(RefusalCode.BAD_REQUEST, f"Too long: at most {rules.chat_chars_max} characters.")
    x, y = float(players.x[slot]), float(players.y[slot])
    line = Line(command.channel, command.player_id, players.names[slot], text, tick, x, y, None)
    deaf = state.deafness.deaf_to(command.player_id)
    if command.channel == ChatChannel.WORLD:
        everyone = (
            None if deaf.isdisjoint(players.slot_of) else [one for one in players.slot_of if one not in deaf]
        )
        return line, everyone, len(players) - 1
    if command.channel == ChatChannel.DIRECT:
        if command.to is None or command.to not in players.slot_of or command.to in deaf:
            raise Refusal(RefusalCode.NOT_FOUND, UNREACHABLE)
        line.to = command.to
        both = list({command.player_id, command.to})
        return line, both, len(both) - 1
    near = players.grid.within(x, y, rules.chat_radius, players.x, players.y, players.linked)
    reached = [int(players.player_id[listener]) for listener in near]
    return line, [one for one in reached if one not in deaf], max(0, len(reached) - 1)


def history(state: State, player_id: int, x: float, y: float) -> list[Line]:
    """The last lines somebody entering at (x, y) could have heard, oldest first."""
    wanted, radius, talk = state.rules.chat_lines_on_enter, state.rules.chat_radius, state.talk
    blocked = state.deafness.blocked_by(player_id)

    def latest(channel: ChatChannel, key: int) -> Iterator[Entry]:
        return (entry for entry in talk.latest(channel, key) if entry[1].sender_id not in blocked)

    found = list(islice(latest(ChatChannel.WORLD, EVERYONE), wanted))
    found += islice(latest(ChatChannel.DIRECT, player_id), wanted)
    here = pack(int(x // CELL_TILES), int(y // CELL_TILES))
    for near in around(here, math.ceil(radius / CELL_TILES)):
        found += islice(_within(latest(ChatChannel.NEARBY, near), x, y, radius * radius), wanted)
    return [line for _, line in sorted(found)[max(0, len(found) - wanted) :]]


def _within(entries: Iterable[Entry], x: float, y: float, square: float) -> Iterator[Entry]:
    """Those said at most so far away, squared. Not by ** 2, the C library's pow: it may differ from machine to machine."""
    for entry in entries:
        dx, dy = entry[1].x - x, entry[1].y - y
        if dx * dx + dy * dy <= square:
            yield entry
