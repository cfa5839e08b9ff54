"""protocol/PROTOCOL.md: the protocol in words, for a person who writes a client.

What can be read off the code is (messages, fields, limits, codes, layouts, the ladder, defaults of the settings); the
examples are
made by running the codec, so they cannot be wrong. The prose between stands here.
"""

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgpack
import msgspec
import numpy as np

from protocol import codec
from protocol.errors import CloseCode, RefusalCode
from protocol.messages import (
    PROTOCOL_VERSION,
    Appeared,
    ChatChannel,
    ChatSaid,
    ChatSay,
    Closing,
    Hello,
    Move,
    Moved,
    Ok,
    Refused,
    Role,
    Snapshot,
    View,
    Welcome,
    name_of,
)
from protocol.snapshot import RECORD, UNITS_PER_TILE, write_block
from world.chat import UNREACHABLE

HEX_BYTES_PER_LINE = 32
LINE_CHARS = 120

_TYPES = [
    ("int", "integer of any width", "limits are given with each field; a float or a bool is refused"),
    ("float", "float 64, float 32 or integer", "NaN and infinity are refused; the server writes float 64"),
    ("str", "str", "UTF-8; limits count characters (code points)"),
    ("bin", "bin", "bytes"),
    ("bool", "bool", ""),
    ("enum", "integer or str", "one of the values listed under that name below"),
    ("map", "map", "keys are str; a name beside it is listed under Shapes"),
    ("list", "array", ""),
]


def render(protocol: Mapping[str, Any]) -> str:
    """The text of PROTOCOL.md for the protocol as `describe` tells it."""
    sections = [
        _introduction(protocol),
        _connecting(protocol),
        _framing(protocol),
        _messages(protocol, "client"),
        _messages(protocol, "server"),
        _shapes(protocol),
        _codes(protocol),
        _walking(protocol),
        _blocks(protocol),
        _chunk(protocol),
        _built(protocol),
        _ladder(protocol),
        _coming_back(protocol),
        _accounts(protocol),
        _limits(protocol),
        _session(),
        _checking(),
    ]
    return "\n".join(map(_wrapped, sections))


def _wrapped(text: str) -> str:
    """The text with its paragraphs and list items filled to LINE_CHARS; tables, code and headings stay as they are."""
    blocks = [
        block if block.startswith(("|", "    ", "#", "<")) else _filled(block) for block in text.split("\n\n")
    ]
    return "\n\n".join(blocks)


def _filled(block: str) -> str:
    items = re.split(r"\n(?=- |\d+\. )", block.strip("\n"))
    end = "\n" if block.endswith("\n") else ""
    return "\n".join(_fill_item(" ".join(item.split())) for item in items) + end


def _fill_item(item: str) -> str:
    mark = re.match(r"- |\d+\. |", item)
    assert mark is not None
    indent = " " * mark.end()
    return textwrap.fill(
        item, LINE_CHARS, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _introduction(protocol: Mapping[str, Any]) -> str:
    return f"""\
<!-- Made by `landworld protocol --write`; do not edit. -->
# The landworld protocol, version {protocol["version"]}

Everything needed to write a client. The same as JSON: `landworld protocol --json`.

1. [Connecting](#connecting)
2. [Framing and types](#framing-and-types)
3. [What a client sends](#what-a-client-sends)
4. [What the server sends](#what-the-server-sends)
5. [Codes](#codes)
6. [Walking](#walking)
7. [Blocks in a snapshot](#blocks-in-a-snapshot)
8. [Chunks: the ground](#chunks-the-ground)
9. [What is built](#what-is-built)
10. [The ladder of degradation](#the-ladder-of-degradation)
11. [Coming back](#coming-back)
12. [Accounts](#accounts)
13. [Limits and rates](#limits-and-rates)
14. [A session in bytes](#a-session-in-bytes)
15. [Checking a codec](#checking-a-codec)

Words: positions are tiles, x grows east and y grows south. Chunks and cells are squares of {protocol["chunk"]["tiles"]} x
{protocol["chunk"]["tiles"]} tiles; chunk `cx, cy` covers the tiles from `cx * {protocol["chunk"]["tiles"]}`, `cy *
{protocol["chunk"]["tiles"]}` on. Times are milliseconds of world time, which stands still while the world is down.
"""


def _connecting(protocol: Mapping[str, Any]) -> str:
    settings = protocol["defaults"]
    return f"""\
## Connecting

A WebSocket (RFC 6455) to `ws://HOST:{settings["server.port"]}/` with the subprotocol `{protocol["subprotocol"]}`. Binary
messages only; a text message closes with {CloseCode.UNSUPPORTED_DATA}. No extensions. A browser must come from an allowed
origin (the same host, unless the server is set otherwise); programs send no origin. What does not fit is answered with HTTP:
404 for another path, 403 for another origin, 429 for too many connections from one address, 503 when the server is full or
closing, 408 when the handshake takes too long, and another 4xx for what is no WebSocket handshake.

1. The client sends [`hello`](#hello) within {settings["limits.hello_timeout_s"]:g} s, and nothing else until it is
   answered; a second one closes with {CloseCode.POLICY_VIOLATION}. An empty `token` or `resume` counts as none. Who needs a
   token first may ask for it on the same connection, see [Accounts](#accounts); the time begins anew with each such request.
2. The server answers [`welcome`](#welcome), or [`refused`](#refused) with `request_id` 0 and a close with
   {CloseCode.REFUSED}.
3. After `welcome` come, in this order: [`view`](#view), lines of chat from before as [`chat_said`](#chat_said), a
   [`mute_changed`](#mute_changed) for who may not speak, an
   [`appeared`](#appeared) for everyone in sight, and a [`snapshot`](#snapshot) of the cells in sight. One's own record is
   among them.
4. From then on the server sends, at each tick ({settings["world.tick_hz"]} a second), first what is meant for this client
   (`moved`, `ok`, `refused`, ...), then `appeared` for newcomers and a `snapshot` of the cells that changed. A tick
   without news sends nothing.

The server pings (WebSocket ping) whoever is quiet for {settings["limits.ping_interval_s"]:g} s; any WebSocket library
answers by itself. Nothing heard for {settings["limits.idle_timeout_s"]:g} s closes with {CloseCode.IDLE_TIMEOUT}. One
player has one connection: the newer wins, the older is closed with {CloseCode.REPLACED}.

To leave for good, close with 1000 or 1001: the player is gone at once. After any other loss the player stays in the world
for a while, see [Coming back](#coming-back).
"""


def _framing(protocol: Mapping[str, Any]) -> str:
    types = _table(("type", "MessagePack", ""), _TYPES)
    return f"""\
## Framing and types

A WebSocket message, both ways, is **one or more [MessagePack](https://msgpack.org) arrays end to end**, with nothing
between, before or after them. Each array is one message: `[code, field, field, ...]`, fields in the order of the tables
below. Trailing optional fields may be left out or be nil; an optional field in the middle that is absent is nil. The
server usually writes nil.

{types}
The server reads strictly. An unknown code, a missing or extra field, a wrong type, a value past its limits, extension
types, and bytes that are no MessagePack close the connection with {CloseCode.INVALID_DATA}; a WebSocket message is taken
whole or not at all. How wide an integer or a length is written does not matter. A client should be as strict: what it
does not know is of another version.

So a text of chat that is empty, or longer than its field can be, closes with {CloseCode.INVALID_DATA} as a malformed
message. One that is only longer than `chat.text_chars_max`, or of which nothing is left without its control characters,
is refused.

**Requests** carry `request_id` first, a number the client picks. Each gets exactly one answer with the same number:
[`ok`](#ok) with a result, or [`refused`](#refused) with a code and a sentence for a person. Answers may come in another
order than the requests.
"""


def _messages(protocol: Mapping[str, Any], direction: str) -> str:
    title = "What a client sends" if direction == "client" else "What the server sends"
    rows = [row for row in protocol["messages"] if row["direction"] == direction]
    overview = _table(
        ("code", "message", "fields"),
        [
            (
                row["code"],
                f"[`{row['name']}`](#{row['name']})",
                ", ".join(_short(field) for field in row["fields"]),
            )
            for row in rows
        ],
    )
    return "\n".join([f"## {title}\n", overview, *(_message(protocol, row) for row in rows)])


def _short(field: Mapping[str, Any]) -> str:
    return f"{field['name']}{'?' if field.get('optional') else ''}"


def _message(protocol: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    lines = [f"### {row['name']}\n", f"Code {row['code']}. {row['doc']}\n"]
    if row["direction"] == "client":
        lines.append(_rule(protocol, row))
    lines.append(_fields(row["fields"]))
    if row["name"] == "welcome":
        rows = [(f"`{name}`", meaning) for name, meaning in protocol["welcome_settings"].items()]
        lines += ["Settings in `welcome`, a map:\n", _table(("setting", "meaning"), rows)]
    if "result" in row:
        lines += ["The result in `ok`, a map:\n", _fields(row["result"])]
    return "\n".join(lines)


def _rule(protocol: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    rate = protocol["rates"][row["rate"]]
    who = "" if row["role"] == Role.GUEST else f", from role {row['role']} on"
    when = " Or: ".join(protocol["meanings"]["State"][state.upper()] for state in row["states"])
    return f"When: {when}{who}. Rate `{row['rate']}`: {rate['per_s']:g} a second, {rate['burst']} at once.\n"


def _fields(fields: Sequence[Mapping[str, Any]]) -> str:
    return _table(
        ("field", "type", "limits", "meaning"),
        [(f"`{field['name']}`", _type(field), _range(field), field.get("meaning", "")) for field in fields],
    )


def _type(field: Mapping[str, Any]) -> str:
    kind = _kind(field)
    return f"{kind}, optional" if field.get("optional") else kind


def _kind(field: Mapping[str, Any]) -> str:
    if field["type"] == "enum":
        return f"enum [{field['enum']}](#{field['enum'].lower()})"
    if field["type"] == "list":
        return f"list of {_kind(field['of'])}"
    if "shape" in field:
        return f"map [{field['shape']}](#{field['shape'].lower()})"
    return str(field["type"])


def _range(field: Mapping[str, Any]) -> str:
    if "min" in field:
        return f"{_number(field['min'])} to {_number(field['max'])}"
    if "chars_max" in field:
        return f"{field.get('chars_min', 0)} to {field['chars_max']} characters"
    if "bytes_max" in field:
        low, high = field["bytes_min"], field["bytes_max"]
        return f"{high} bytes" if low == high else f"{low} to {high} bytes"
    return ""


def _number(value: int) -> str:
    for power in (15, 16, 20, 32, 63):
        for number, text in ((2**power, f"2^{power}"), (2**power - 1, f"2^{power} - 1")):
            if abs(value) == number:
                return f"-{text}" if value < 0 else text
    return str(value)


def _shapes(protocol: Mapping[str, Any]) -> str:
    intro = "## Shapes\n\nMaps that stand inside of messages and results, with named fields.\n"
    tables = [f"### {name}\n\n{_fields(fields)}" for name, fields in protocol["shapes"].items()]
    return "\n".join([intro, *tables])


def _codes(protocol: Mapping[str, Any]) -> str:
    intro = f"""\
## Codes

Three kinds of trouble are never mixed. A *refusal* is a normal answer: nothing changed, the connection lives on. A
*close* ends a connection that broke the protocol or has no place any more; the WebSocket close frame carries the code and
a reason. Where there is more to say than that, the server sends [`closing`](#closing) before: when it stops
({CloseCode.GOING_AWAY}), when you signed in elsewhere ({CloseCode.REPLACED}), when you do not read ({CloseCode.TOO_SLOW}),
when your session has ended ({CloseCode.REVOKED}), and when a moderator sends you away ({CloseCode.BANNED}, {CloseCode.KICKED}).
All other closes are the close frame alone.
"""
    tables = [
        f"### {name}\n\n{_enum(members, protocol['meanings'][name])}"
        for name, members in protocol["enums"].items()
        if name in protocol["meanings"] and name not in ("State", "Rate")
    ]
    return "\n".join([intro, *tables])


def _enum(members: Mapping[str, Any], meanings: Mapping[str, str]) -> str:
    return _table(
        ("value", "name", "meaning"),
        [
            (f"`{value}`" if isinstance(value, str) else value, f"`{name}`", meanings[name])
            for name, value in members.items()
        ],
    )


def _walking(protocol: Mapping[str, Any]) -> str:
    return """\
## Walking

`move` says where one wants to go; it holds until the next `move`. The server alone integrates. At each tick of `1 /
tick_hz` s:

    speed = settings.walk_speed * walk / 100            walk: the chunk layer, at the tile under the feet
    step  = (dx, dy) * speed / tick_hz                  (dx, dy) shortened to length 1

Where the tile at the end of the step is blocked (`walk` 0, a chunk the server has not loaded, the end of the world), the
x part alone is tried, then the y part alone, else one stays. Who stands on blocked ground walks out of it at half speed.
The border of a parcel whose `open_enter` is false is such an end, too, for whoever has no standing there, unless one is inside
already; whom it stopped is told by [`entry_denied`](#entry_denied). Players are points and do not block each other.

A client that draws itself ahead of the server's answer does the same sum, keeps its inputs by `seq`, and on `moved
{seq, tick, x, y}` starts again from that place with the inputs after `seq`. `moved` comes at most once a tick and
carries the newest `seq` of that tick: of several moves within one tick the last is obeyed, and all up to `seq` are done
with. The others are drawn between the last two
snapshots of their cell.
"""


def _blocks(protocol: Mapping[str, Any]) -> str:
    layout = protocol["records"]["snapshot.cells"]
    named, places = layout["named"], layout["places"]
    return f"""\
## Blocks in a snapshot

`snapshot.cells` is a row of blocks, one a cell, end to end, {layout["byte_order"]}-endian:

{_parts(layout)}
A record of a **named** block has {named["record_bytes"]} bytes:

{_offsets(named)}
A record of a block that is **not named** has {places["record_bytes"]}:

{_offsets(places)}
`cx` and `cy` are those of the block. There is no heading: it is the direction from the place before.

- A named block lists everyone in its cell, whether they moved or not. Keep the order of their ids.
- A block that is not named tells of the same people in the same order as the last named block of that cell: as long as
  nobody comes or goes, ids are not said again. So a client keeps one list of ids for each cell in sight. A count that differs
  from that list, or a cell without one, is a mistake of the server; pass the block over.
- `tick` holds for all blocks of a snapshot. A cell in sight without a block is unchanged; one with no records is empty.
- `(snapshot.cx, snapshot.cy)` is the cell one's own player is in. Sight is the square of cells `view.radius_cells` around it.
  Forget a cell, its list too, when it falls out of that square or comes as a [`crowd`](#crowd); when it comes back it is named
  again, unless it is empty.
- Who is in the list of no cell in sight has left your sight.
- `appeared` tells name and look once, before the first record with that `player_id`.

{_example()}"""


def _parts(layout: Mapping[str, Any]) -> str:
    zero, long, named = (layout[name] for name in ("step_zero", "count_long", "named_bit"))
    where = f"`cx = snapshot.cx + (where >> 4) - {zero}`, `cy = snapshot.cy + (where & 15) - {zero}`"
    low = f"`head & {long}`"
    rows = [
        ("`where`", "u8", f"which cell: {where}; at most {layout['step_max']} away"),
        (
            "`head`",
            "u8",
            f"the block is *named* if `head & {named}` is not 0; {low} is how many records follow",
        ),
        ("`count`", "u16", f"only there if {low} is {long}: how many records follow, in place of it"),
        ("records", "", "of one kind or the other, as below"),
    ]
    return _table(("part", "type", "meaning"), rows)


def _example() -> str:
    """Two snapshots of one cell, written by the code that writes them, and read in words."""
    before = np.array([(7, 3072, 4608), (500, 65535, 0)], RECORD)
    after = np.array([(7, 3481, 4608), (500, 65535, 0)], RECORD)
    named, places = write_block(-1, 2, before, named=True), write_block(-1, 2, after, named=False)
    return f"""\
Example: from the cell `cx = 0, cy = 0` one sees two players in the cell `cx = -1, cy = 2`.

    {named[:2].hex(" ")}    where: 7 - 8 = -1, 10 - 8 = 2; head: named, two records
    {named[2:10].hex(" ")}    player_id 7,   x = -1 * 32 + 3072 / 2048 = -30.5, y = 2 * 32 + 4608 / 2048 = 66.25
    {named[10:].hex(" ")}    player_id 500, x = -1 * 32 + 65535 / 2048 = -0.00048828125, y = 2 * 32 + 0 / 2048 = 64.0

A tick later the first of them has walked east; nobody came or went.

    {places[:2].hex(" ")}    where as before; head: not named, two records
    {places[2:6].hex(" ")}    player_id 7,   x = -1 * 32 + 3481 / 2048 = -30.30029296875, y = 66.25
    {places[6:].hex(" ")}    player_id 500, as before
"""


def _offsets(record: Mapping[str, Any]) -> str:
    return _table(
        ("offset", "field", "type", "meaning"),
        [(field["offset"], f"`{field['name']}`", field["type"], _place(field)) for field in record["fields"]],
    )


def _place(field: Mapping[str, Any]) -> str:
    return f"{field['name']} in tiles = `{field['tiles']}`" if "tiles" in field else "who"


def _chunk(protocol: Mapping[str, Any]) -> str:
    chunk = protocol["chunk"]
    layers = _table(
        ("layer", "bytes", "delta", "meaning"),
        [
            (f"`{one['name']}`", one["count"], "yes" if one["delta"] else "", one["meaning"])
            for one in chunk["layers"]
        ],
    )
    objects = chunk["objects"]
    records = _table(
        ("offset", "field", "type", "meaning"),
        [
            (field["offset"], f"`{field['name']}`", field["type"], field["meaning"])
            for field in objects["fields"]
        ],
    )
    grounds = _kinds(protocol["enums"]["Ground"], protocol["ground_speed"])
    kinds = _kinds(protocol["enums"]["ObjectKind"], protocol["object_speed"])
    return f"""\
## Chunks: the ground

Ground is asked for with [`chunk_get`](#chunk_get), at most `welcome.settings.chunk_radius_max` chunks away from the chunk
one stands in. A client may keep chunks (under `ground_id`) and name the `version` it holds: it then gets nothing
(`CURRENT`), the edits since (`EDITS`, a `chunk_edits`), or the whole (`WHOLE`, a `chunk` and, where something is built, a
`chunk_edits`), each before the `ok`. A `chunk` is always bare ground, version 1: what is built comes on top of it.

`chunk.data` is compressed with {chunk["compression"]}. Inflated, {chunk["byte_order"]}-endian, in this order:

{layers}
Layers are {chunk["tiles"]} x {chunk["tiles"]} bytes, row by row from the north (`y * {chunk["tiles"]} + x`). "Delta":
each value but the first is the difference to the one before it, modulo 256; a running sum gives the layer back.

Then the objects: a {objects["count"]} count, and so many records of {objects["record_bytes"]} bytes, sorted
{objects["order"]}:

{records}
### Ground

Speed is the fraction of full walking speed; 0 blocks. The `walk` layer has it worked out for each tile.

{grounds}
### ObjectKind

Speed is what an object leaves of its tile's.

{kinds}"""


def _built(protocol: Mapping[str, Any]) -> str:
    records = protocol["records"]
    kinds = _table(
        ("value", "name", "walk"),
        [
            (value, f"`{name}`", protocol["build_walk"].get(name, "the ground's"))
            for name, value in protocol["enums"]["Build"].items()
        ],
    )
    return f"""\
## What is built

On top of the ground lies what people build, one [kind](#build) a tile. A chunk's `version` counts its edits: 1 is bare
ground, and each record makes it one more.

{_records(records["chunk_edits.edits"], "chunk_edits.edits")}
Apply them in order: the kind takes the place of what stood on the tile, and its walking speed that of the `walk` layer; 0
gives the bare ground back. Keep the bare chunk, the edits, the version reached and the `built_id`.

- **Live.** When somebody builds in a cell you see, a `chunk_edits` comes with that tick. Apply it if you hold its
  `from_version` or a later one; if your version is lower, send `chunk_get` with it; if it is `version` or higher, pass it
  over.
- **Out of sight** you are told nothing. Send `chunk_get` for each chunk you hold whenever its cell comes into your sight
  (the first `snapshot` from a new cell of your own, or a wider `view`): nearly always the answer is `CURRENT`.
- A `chunk_edits` may name each edited tile once, as it is now, in place of every step since an old version. There is
  nothing to be done differently.
- **After a restart.** Everybody sees at once what is stored a moment later. A server that is killed between the two has told
  of edits that never were, and the next one counts others from the same version on. So versions hold under one
  `welcome.settings.built_id` only: whatever you hold under another one, in memory or kept, name version 1 for it, that of
  bare ground. And whenever a `chunk_edits` has 1 as its `from_version`, or the answer is that version 1 is `CURRENT`, all
  that you took for built there before is gone.

{_records(records["tile_edit.edits"], "tile_edit.edits")}
A `tile_edit` is done as a whole or not at all, and answered with `ok` only once it is stored for good: it then outlives any
crash. Make a new random `action_id` for each. If no answer comes (the line broke, the server restarted, its database went away
just then), send the same again, over any connection: what was done before is not done twice and gets its first answer. The
same `action_id` with other content is refused with `BAD_REQUEST`. While the database is away the answer is `UNAVAILABLE` with
`retry_after_ms`.

### Build

Walk is in percent of full speed, whatever the ground; 0 blocks. Who stands on a tile when it is blocked can walk out of it.

{kinds}"""


def _records(record: Mapping[str, Any], name: str) -> str:
    table = _table(
        ("offset", "field", "type", "meaning"),
        [
            (field["offset"], f"`{field['name']}`", field["type"], field["meaning"])
            for field in record["fields"]
        ],
    )
    intro = f"`{name}` is a row of records of {record['record_bytes']} bytes, {record['byte_order']}-endian:"
    return f"{intro}\n\n{table}"


def _kinds(members: Mapping[str, int], speeds: Mapping[str, float]) -> str:
    return _table(
        ("value", "name", "speed"),
        [(value, f"`{name}`", f"{speeds[name]:g}") for name, value in members.items()],
    )


def _ladder(protocol: Mapping[str, Any]) -> str:
    table = _table(
        ("step", "own cell", "other cells", "radius", "crowds"),
        [
            (
                rung["step"],
                f"{rung['near_hz']} Hz",
                f"{rung['far_hz']} Hz",
                f"{rung['radius_cells']}",
                "as counts" if rung["crowds"] else "",
            )
            for rung in protocol["ladder"]
        ],
    )
    settings = protocol["defaults"]
    return f"""\
## The ladder of degradation

When there is too much to send, less is sent, in this order; nobody is cut off for the server's own slowness, and the
simulation itself slows last. A client whose snapshots pass {settings["interest.client_bytes_per_s"]} bytes a second takes
steps for itself; a server whose ticks are too busy takes them for everyone; the higher step is in force and
[`view`](#view) tells it whenever it changes. With the default settings:

{table}
Radius is in rings of cells around one's own; 1 is a square of 3 x 3. On the last step a cell with more than
{settings["interest.crowd_entities"]} people comes as [`crowd`](#crowd) in place of `snapshot`; `moved` still tells where
one is oneself.
"""


def _coming_back(protocol: Mapping[str, Any]) -> str:
    settings = protocol["defaults"]
    return f"""\
## Coming back

`welcome.resume` is a signed ticket. Keep it; the latest is the one to use.

- **A lost line.** The player stays in the world for {settings["session.resume_s"]:g} s. Connect again and send `hello`
  with `resume`: one goes on from there.
- **Later.** For {settings["session.ticket_days"]:g} days the same ticket signs the same player in again. So a guest is
  the same guest tomorrow, and stands where they stood.
- **A restart of the server.** Before it stops, the server sends `closing` with {CloseCode.GOING_AWAY}, `retry_after_ms`
  and a fresh `resume`, then closes with {CloseCode.GOING_AWAY}. Wait `retry_after_ms`, then try every 0.5 to 1 s (at
  random, so that not everybody knocks at once) with that ticket.
- A ticket that is refused (`BAD_TOKEN`) is worth nothing any more: forget it and send `hello` without.
- Without `retry_after_ms` in `closing`, do not come back by yourself: a person should decide ({CloseCode.REPLACED} for
  one: two programs would throw each other out for ever).
"""


def _accounts(protocol: Mapping[str, Any]) -> str:
    settings = protocol["defaults"]
    return f"""\
## Accounts

[`account_register`](#account_register) and [`account_login`](#account_login) answer with two tokens; they may be sent before `hello`.

- **The access token** is for `hello`, for {settings["accounts.access_s"] // 60:g} minutes. Whoever is in by then stays in.
- **The refresh token** makes two new ones ([`account_refresh`](#account_refresh)), once, for
  {settings["accounts.refresh_days"]:g} days; each new one is good for as long again. Store the new one before you use it: an old
  one that comes again ends the session (`TOKEN_REUSED`), and a person has to sign in.
- **A session** is one sign-in, whatever tokens follow. When it ends (signed out, revoked, another password, the account deleted),
  its connection gets [`closing`](#closing) with {CloseCode.REVOKED} and is closed; its tokens and tickets are refused with `BAD_TOKEN`.
- **A guest** who registers in the world goes on playing on the same connection, with a new name and the role `user`. The
  tickets from before are worth nothing then; sign in with the tokens.
- Nothing is told of who has an account: a wrong password and an unknown name are refused alike (`BAD_CREDENTIALS`), and after
  {settings["accounts.failures_max"]:g} of them `LOCKED`, with the time to wait.
"""


def _limits(protocol: Mapping[str, Any]) -> str:
    settings = protocol["defaults"]
    rows = [
        (
            "one WebSocket message from a client",
            f"{settings['limits.message_bytes_max']} bytes",
            CloseCode.TOO_BIG,
        ),
        (
            "messages in one WebSocket message",
            settings["limits.messages_per_frame_max"],
            CloseCode.INVALID_DATA,
        ),
        ("fragments of one WebSocket message", settings["limits.fragments_max"], CloseCode.PROTOCOL_ERROR),
        (
            "from the handshake to `hello`",
            f"{settings['limits.hello_timeout_s']:g} s",
            CloseCode.HELLO_TIMEOUT,
        ),
        ("nothing heard", f"{settings['limits.idle_timeout_s']:g} s", CloseCode.IDLE_TIMEOUT),
        (
            "`RATE_LIMITED` answers",
            f"{settings['limits.flood_refusals_max']} in {settings['limits.flood_window_s']:g} s",
            CloseCode.FLOODING,
        ),
        (
            "waiting to be read by the client",
            f"{settings['limits.outbox_bytes_max']} bytes for {settings['limits.slow_client_s']:g} s",
            CloseCode.TOO_SLOW,
        ),
    ]
    rates = _table(
        ("rate", "for", "a second", "at once"),
        [
            (f"`{name}`", protocol["meanings"]["Rate"][name.upper()], f"{rate['per_s']:g}", rate["burst"])
            for name, rate in protocol["rates"].items()
        ],
    )
    return f"""\
## Limits and rates

Defaults; a server may be set otherwise (config.toml).

{_table(("what", "at most", "else close"), [(what, most, f"{code.value} `{code.name}`") for what, most, code in rows])}
Each connection has a token bucket per rate. Over it a message is refused with `RATE_LIMITED` and `retry_after_ms`
(`request_id` 0 for
what carries none) and not done.

{rates}"""


def _session() -> str:
    ada = Appeared(7, "Ada", 0x3366CC)
    here = np.array([(7, 5.0 * UNITS_PER_TILE, 6.0 * UNITS_PER_TILE)], RECORD)
    there = np.array([(7, 5.2 * UNITS_PER_TILE, 6.0 * UNITS_PER_TILE)], RECORD)
    steps: list[tuple[str, str, list[Any]]] = [
        ("client", "Without token or ticket: a new guest.", [Hello(PROTOCOL_VERSION, "example/1")]),
        (
            "server",
            "Welcome, what one will be sent, and who stands here: oneself, at (5, 6).",
            [
                Welcome(
                    player_id=7,
                    name="Ada",
                    role=Role.GUEST,
                    x=5.0,
                    y=6.0,
                    tick=72000,
                    tick_hz=20,
                    epoch=3,
                    durable_seq=0,
                    resume="(a ticket)",
                    settings={"cell_tiles": 32, "walk_speed": 4.0},
                ),
                View(0, 1, 20, 20, False),
                ada,
                Snapshot(72001, 0, 0, write_block(0, 0, here, named=True)),
            ],
        ),
        (
            "client",
            "Walk east, and say something to those near; two messages in one.",
            [Move(1, 1.0, 0.0), ChatSay(1, ChatChannel.NEARBY, "Hello!")],
        ),
        (
            "server",
            "Where the first obedient tick has led; the line as everyone near hears it; the answer to the request; the cell.",
            [
                Moved(1, 72040, 5.2, 6.0),
                ChatSaid(ChatChannel.NEARBY, 7, "Ada", "Hello!", 3602000),
                Ok(1, 0, {"heard_by": 0}),
                Snapshot(72040, 0, 0, write_block(0, 0, there, named=False)),
            ],
        ),
        ("client", "A direct line to nobody.", [ChatSay(2, ChatChannel.DIRECT, "You there?", 999)]),
        (
            "server",
            "Refused; the connection lives on.",
            [Refused(2, RefusalCode.NOT_FOUND, UNREACHABLE)],
        ),
        (
            "server",
            "The server restarts: come back with this ticket. A close frame with 1001 follows.",
            [Closing(CloseCode.GOING_AWAY, "The server restarts.", 500, "(a new ticket)")],
        ),
    ]
    parts = "\n".join(_step(sender, text, messages) for sender, text, messages in steps)
    return f"""\
## A session in bytes

Made by running the server's codec. Each block is one WebSocket message, its bytes in hex, a line or more for each message
in it. The `settings` of a real `welcome` are more, and tickets are longer.

{parts}"""


def _step(sender: str, text: str, messages: Sequence[msgspec.Struct]) -> str:
    lines = []
    for message in messages:
        data = codec.encode(message)  # type: ignore[arg-type]
        lines.append(f"    {name_of(type(message))}  {_shown(msgpack.unpackb(data))}")
        lines += [
            f"        {data[at : at + HEX_BYTES_PER_LINE].hex(' ')}"
            for at in range(0, len(data), HEX_BYTES_PER_LINE)
        ]
    return "\n".join([f"**{sender}** {text}\n", *lines, ""])


def _shown(value: Any) -> str:
    """A decoded value as MessagePack people write it."""
    match value:
        case bytes():
            return f"bin({value.hex()})"
        case None:
            return "nil"
        case bool():
            return str(value).lower()
        case str():
            return f'"{value}"'
        case list():
            return f"[{', '.join(map(_shown, value))}]"
        case dict():
            return "{" + ", ".join(f'"{key}": {_shown(one)}' for key, one in value.items()) + "}"
        case _:
            return str(value)


def _checking() -> str:
    return """\
## Checking a codec

[tests/vectors/codec.json](../tests/vectors/codec.json) holds every message with its limits, beside bytes made by a second
MessagePack implementation: read it, decode each `hex`, compare with `fields`.
[tools/browser/protocol.js](../tools/browser/protocol.js) is a codec of some hundred lines to compare with, made from the
same description as this text.
"""


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(str(cell) for cell in line)} |\n" for line in lines)
