"""The two sides of the server apart: what they say is packed, waits on its way, and comes when the test lets it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
import pytest_asyncio

from persistence.keyring import Key
from protocol import codec
from protocol.errors import CloseCode, Refusal, RefusalCode
from protocol.messages import (
    AccountLogin,
    AccountRegister,
    Appeared,
    ChatChannel,
    ChatSay,
    ClientMessage,
    Closing,
    ModerationKick,
    Move,
    Moved,
    Ok,
    Refused,
    Role,
    State,
    Welcome,
)
from server.accounts import Asker, Done
from server.config import Config
from server.connection import Connection
from server.frames import TickFrame, encode, whole
from server.gate import Gate
from server.gateway import Gateway
from server.hub import FORGET_GUESTS_S, NO_RANK, Hub
from server.seam import AnyDown, AnyUp, Begin, Built, Premises, Saying, Steering, Tally, Whole
from server.session import ROLES
from server.telemetry import Counts
from tests.server.support import HANDSHAKE, HELLO, Elsewhere, FakeTransport, frame, messages, payloads, peace
from world.commands import STEER, AnyCommand, Detach, Inbox, Say, Steers, steer
from world.state import Rules
from world.state import State as World
from world.tick import step

CLOSE_FRAME = 8
PREMISES = Premises(1, 8080, "ground", "built", [Key(b"k" * 32)])


class Side:
    """A connection side at the end of a line on which messages wait: `up` and `down` let them through, packed and unpacked."""

    def __init__(self, hub: Hub, config: Config) -> None:
        self.going_up: list[AnyUp] = []
        self.going_down: list[AnyDown] = []
        self.line = hub.attach(self.going_down.append, lambda: self.gate.tally())  # noqa: PLW0108 (there is no gate yet)
        self.gate = Gate(config, PREMISES, self.line.first_number, self._steer, self.going_up.append, 1 << 20)
        self.gate.now_s = lambda: 1.0  # type: ignore[method-assign]
        self.hub = hub

    def _steer(self, *intent: Any) -> bool:
        self.going_up.append(Steering(bytearray(steer(*intent).records)))
        return True

    def up(self) -> None:
        waiting, self.going_up[:] = list(self.going_up), []
        for message in msgspec.msgpack.decode(msgspec.msgpack.encode(waiting), type=list[AnyUp]):
            self.hub.take(self.line, message)

    def down(self) -> None:
        waiting, self.going_down[:] = list(self.going_down), []
        for message in msgspec.msgpack.decode(msgspec.msgpack.encode(waiting), type=list[AnyDown]):
            self.gate.take(message)

    def settle(self) -> None:
        while self.going_up or self.going_down:
            self.up()
            self.down()

    def connect(self, *sent: bytes) -> tuple[Connection, "PausingTransport"]:
        connection, transport = self.gate.connect(), PausingTransport()
        connection.connection_made(transport)  # type: ignore[arg-type]
        for data in sent:
            connection.data_received(data)
        return connection, transport


class PausingTransport(FakeTransport):
    """Tells whether it is read."""

    def __init__(self) -> None:
        super().__init__()
        self.paused = False

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


class Town:
    """A world, its hub and two connection sides."""

    def __init__(self, **settings: Any) -> None:
        self.config, self.elsewhere = Config.model_validate(settings), Elsewhere()
        elsewhere: Any = self.elsewhere
        self.inbox = Inbox(65_536, 32)
        self.world = World(Rules(20, 4.0, 20, 4, 24.0, 300, 10, 5))
        self.hub = Hub(
            self.config, self.inbox, elsewhere, elsewhere, elsewhere, elsewhere, peace(self.world), Counts()
        )
        self.sides = [Side(self.hub, self.config), Side(self.hub, self.config)]
        self.hub.spread = self._spread
        self.commands: list[AnyCommand] = []

    def _spread(self, tick_frame: TickFrame) -> None:
        packed = msgspec.msgpack.encode(tick_frame)
        for side in self.sides:
            side.down()
            side.gate.publish(msgspec.msgpack.decode(packed, type=TickFrame))

    def tick(self) -> None:
        self.commands = self.inbox.drain()
        events = step(self.world, self.commands, self.world.tick + 1)
        self.hub.publish(encode(self.world, events, [], 0))

    def player(self, side: int) -> tuple[Connection, PausingTransport]:
        connection, transport = self.sides[side].connect(HANDSHAKE)
        self.sides[side].settle()
        connection.data_received(frame(HELLO))
        self.sides[side].settle()
        self.tick()
        assert connection.session.state is State.PLAYING
        transport.take()
        return connection, transport

    def settle(self) -> None:
        for side in self.sides * 2:
            side.settle()


@pytest_asyncio.fixture
async def town() -> AsyncIterator[Town]:
    yield Town()


async def test_a_handshake_waits_until_the_whole_server_has_admitted_it(town: Town) -> None:
    """Guard: Connection.questions. What comes behind the handshake is neither lost nor read too early."""
    side, hello = town.sides[0], frame(HELLO)
    connection, transport = side.connect(HANDSHAKE[:40], HANDSHAKE[40:] + hello[:3])
    waited = transport.paused
    assert waited
    assert not transport.writes
    connection.data_received(hello[3:])
    side.settle()
    reads = not transport.paused
    assert reads
    town.tick()
    head, _, rest = transport.take().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101")
    assert isinstance(messages(rest)[0], Welcome)


@pytest.mark.parametrize("first", [101, 429])
async def test_behind_a_proxy_nobody_is_accepted_before_their_own_address_is_judged(first: int) -> None:
    """Guard: Connection.questions. The answer for the proxy's own address comes first, and is not the answer for the client's."""
    proxy = "192.0.2.1"
    town = Town(server={"trusted_proxies": [proxy]}, limits={"connections_per_address": 1})
    handshake = HANDSHAKE.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 198.51.100.7\r\n\r\n")
    side = town.sides[0]
    if first == 429:  # somebody is there from this address
        side.connect(handshake)
        side.settle()
    _, transport = side.connect(handshake)
    side.up()
    proxys, clients = side.going_down
    side.gate.take(proxys)
    assert transport.take() == b""
    side.gate.take(clients)
    assert transport.take().startswith(b"HTTP/1.1 %d" % first)


async def test_limits_are_of_all_sides_together() -> None:
    """Guard: Hub._admit counts addresses, Hub._opened all connections."""
    for limits, status in (({"connections_per_address": 2}, b"429"), ({"connections_max": 2}, b"503")):
        town = Town(server={"max_players": 1}, limits={"connections_per_address": 2, **limits})
        answers = []
        for number in (0, 1, 0):
            _, transport = town.sides[number].connect(HANDSHAKE)
            town.settle()
            answers.append(transport.take()[9:12])
        assert answers == [b"101", b"101", status]


@pytest.mark.parametrize(
    "then", ["stays", "is given another role", "comes again", "loses the line", "is sent away"]
)
async def test_an_act_is_judged_by_who_stands_where_when_it_is_done(
    town: Town, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    """Guards: `players` and `expelled` in Hub._rank."""
    asked: list[Callable[[], int]] = []
    monkeypatch.setattr(town.hub.moderation, "ask", lambda _, rank, *__: asked.append(rank))
    town.elsewhere.role = "moderator"
    judge, _ = town.player(0)
    player_id = judge.session.player_id
    judge.data_received(frame(codec.encode(ModerationKick(1, bytes(16), 99, "shouting"))))
    town.settle()
    caller = town.hub.players[player_id]
    match then:
        case "is given another role":
            caller.role = Role.USER
        case "comes again":
            town.elsewhere.ids, town.elsewhere.role = iter([player_id]), "user"
            town.player(1)
            town.settle()
        case "loses the line":
            judge.connection_lost(None)
            town.settle()
        case "is sent away":
            town.hub.expel(caller, CloseCode.REVOKED, "ended")
    (rank,) = asked
    ranks = {"stays": Role.MODERATOR, "loses the line": Role.MODERATOR, "is sent away": None}
    role = ranks.get(then, Role.USER)
    assert rank() == (NO_RANK if role is None else ROLES.index(role))


async def test_a_player_is_played_from_one_side_and_the_newer_wins(town: Town) -> None:
    """Guard: Hub._enter with `players` of all lines."""
    older, transport = town.player(0)
    town.elsewhere.ids = iter([older.session.player_id])
    newer, _ = town.player(1)
    town.settle()
    (closing,) = messages(transport.take())
    assert isinstance(closing, Closing)
    assert closing.code is CloseCode.REPLACED
    older.connection_lost(None)
    town.settle()
    town.tick()
    assert town.sides[0].gate.players == {}
    assert town.sides[1].gate.players == {newer.session.player_id: newer}
    assert not [command for command in town.commands if isinstance(command, Detach)]


async def test_what_an_older_connection_still_had_on_its_way_is_not_obeyed(town: Town) -> None:
    """Guards: `outdated` in Hub._steer, the number in Hub._say: the newer one counts its inputs and requests anew."""
    older, _ = town.player(0)
    older.data_received(
        frame(codec.encode(Move(77, 1.0, 0.0)) + codec.encode(ChatSay(5, ChatChannel.WORLD, "I am late")))
    )
    town.elsewhere.ids = iter([older.session.player_id])
    newer, transport = town.player(1)
    town.settle()
    town.tick()
    assert not [command for command in town.commands if isinstance(command, Steers | Say)]
    newer.data_received(frame(codec.encode(Move(1, 1.0, 0.0))))
    town.settle()
    town.tick()
    assert [one.seq for one in messages(transport.take()) if isinstance(one, Moved)] == [1]


async def test_one_may_come_back_to_the_side_one_was_replaced_on(town: Town) -> None:
    """Guard: Hub._ending; without it intents from there would be taken for outdated ones for ever."""
    first, _ = town.player(0)
    town.elsewhere.ids = iter([first.session.player_id] * 2)
    town.player(1)
    town.settle()
    newest, transport = town.player(0)
    town.settle()
    newest.data_received(frame(codec.encode(Move(3, 1.0, 0.0))))
    town.settle()
    town.tick()
    assert [one.seq for one in messages(transport.take()) if isinstance(one, Moved)] == [3]


@pytest.mark.parametrize("last", ["ending", "closed"])
async def test_the_end_of_one_line_does_not_bring_back_what_a_later_one_had_on_its_way(
    town: Town, last: str
) -> None:
    """Guard: the number in Line.heard_last_of. Two lines of one player were replaced on this side; the end of the first is not that
    of the second."""
    here = town.sides[0]
    first, _ = town.player(0)
    town.elsewhere.ids = iter([first.session.player_id] * 3)
    town.player(1)
    if last == "ending":
        here.down()  # Replaced, but what it answers waits
        ends, here.going_up[:] = list(here.going_up), []
    else:
        here.settle()
        first.connection_lost(None)
        ends, here.going_up[:] = list(here.going_up), []
    third, _ = town.player(0)
    third.data_received(frame(codec.encode(Move(77, 1.0, 0.0))))
    town.player(1)
    here.going_up[:0] = ends
    town.settle()
    town.tick()
    assert not [command for command in town.commands if isinstance(command, Steers)]


async def test_an_answer_is_for_the_connection_that_asked_also_when_the_newer_one_is_on_another_side(
    town: Town,
) -> None:
    """Guard: numbers of connections begin elsewhere on each line (Hub.attach)."""
    asked, _ = town.player(0)
    asked.data_received(frame(codec.encode(ChatSay(9, ChatChannel.NEARBY, "hello"))))
    town.sides[0].up()
    town.elsewhere.ids = iter([asked.session.player_id])
    newer, transport = town.sides[1].connect(HANDSHAKE)
    town.sides[1].settle()
    newer.data_received(frame(HELLO))
    town.sides[1].settle()
    town.tick()
    told = messages(transport.take().partition(b"\r\n\r\n")[2])
    assert isinstance(told[0], Welcome)
    assert not [one for one in told if isinstance(one, Ok)]


async def test_a_side_that_dies_is_so_many_lost_lines(town: Town) -> None:
    """Guard: Hub.detach. Whoever was there stands where they are, and goes on on another side."""
    lost, _ = town.player(0)
    stays, _ = town.player(1)
    town.sides[0].gate.counts.messages["ping"] += 3
    line = town.sides.pop(0).line
    town.hub.detach(line)
    town.tick()
    assert town.commands == [Detach(lost.session.player_id)]
    assert set(town.hub.players) == {stays.session.player_id}
    assert len(town.hub) == 1
    assert town.hub.tally().messages["ping"] == 3  # what was counted stays counted
    assert town.hub.tally().viewers["0"] == 1
    town.elsewhere.ids = iter([lost.session.player_id])
    town.player(0)
    assert town.world.detached == set()


async def test_a_side_that_begins_anew_sees_everyone_who_is_there(town: Town) -> None:
    """Guard: Gate._begin."""
    there, _ = town.player(0)
    side = Side(town.hub, town.config)
    side.gate.take(Built([(0, 7, b"")]))
    side.gate.take(Whole(whole(town.world, 0)))
    town.sides.append(side)
    _, transport = town.sides[2].connect(HANDSHAKE)
    side.settle()
    transport.take()
    connection = next(iter(side.gate._connections.values()))
    connection.data_received(frame(HELLO))
    side.settle()
    town.tick()
    told = messages(transport.take())
    named = {one.player_id for one in told if isinstance(one, Appeared)}
    assert there.session.player_id in named
    assert side.gate.ground.version(0) == 7


async def test_a_full_inbox_refuses_what_comes_over_a_line(town: Town) -> None:
    """Guards: the limit in Inbox.put, and the answers in Hub._steer and Hub._say."""
    one, transport = town.player(0)
    town.inbox.commands_max = 0
    one.data_received(
        frame(codec.encode(Move(1, 1.0, 0.0)) + codec.encode(ChatSay(5, ChatChannel.NEARBY, "hm")))
    )
    town.settle()
    town.tick()
    refused = [one.request_id for one in messages(transport.take()) if isinstance(one, Refused)]
    assert refused == [0, 5]


async def test_all_are_told_of_the_end_and_nobody_comes_in_any_more(town: Town) -> None:
    """Guard: Hub.close_all; `_open`."""
    players = [town.player(0), town.player(1)]
    late, _ = town.sides[0].connect()
    town.hub.close_all("Good night.")
    town.settle()
    for _, transport in players:
        written = transport.take()
        closing = messages(written)[-1]
        assert isinstance(closing, Closing)
        assert closing.resume
        assert payloads(written)[-1][0] == CLOSE_FRAME
    ending = asyncio.create_task(town.hub.wait_closed(60.0))
    for connection in (players[0][0], players[1][0], late):
        connection.connection_lost(None)
    town.settle()
    await ending
    _, transport = town.sides[1].connect(HANDSHAKE)
    town.settle()
    assert transport.take().startswith(b"HTTP/1.1 503")


def test_counts_add_up_label_by_label() -> None:
    total = Tally(connections=2, messages={"move": 1})
    total.add(Tally(connections=3, messages={"move": 4, "ping": 1}, viewers={"0": 2}))
    assert total == Tally(connections=5, messages={"move": 5, "ping": 1}, viewers={"0": 2})
    total.end()
    assert total.viewers == {}


async def test_intents_keep_their_place_among_other_messages() -> None:
    """Guard: Gateway.steer looks at what was queued last."""
    nothing: Any = None
    gateway = Gateway(nothing, [])
    gateway.link.flush = lambda: None  # type: ignore[method-assign]
    gateway._begin(Begin(Config().model_dump_json(exclude={"data"}), PREMISES, 1))
    gateway.link.waiting.clear()
    gateway.steer(7, 1, 1.0, 0.0)
    gateway.steer(8, 1, 1.0, 0.0)
    gateway._gate.up(Saying(Say(7, 1, ChatChannel.NEARBY, "now", None)))
    gateway.steer(7, 2, 0.0, 0.0)
    sizes = [len(one.records) if isinstance(one, Steering) else 0 for one in gateway.link.waiting]
    assert sizes == [2 * STEER.itemsize, 0, STEER.itemsize]


# --- rates ---------------------------------------------------------------------------------------------------------------------


def talked(connection: Connection, times: int) -> None:
    """Somebody says something so often."""
    for number in range(times):
        connection.data_received(frame(codec.encode(ChatSay(number + 1, ChatChannel.NEARBY, "hello"))))


def refusals(transport: FakeTransport) -> list[RefusalCode]:
    told = messages(transport.take().rpartition(b"\r\n\r\n")[2])
    return [one.code for one in told if isinstance(one, Refused)]


CHAT = {"rates": {"chat": {"per_s": 0.001, "burst": 3}}}


@pytest.mark.parametrize("how", ["lost", "replaced", "replaced, and its end comes late"])
@pytest.mark.parametrize("side", [0, 1])
async def test_who_comes_back_has_what_they_had_left(side: int, how: str) -> None:
    """Guards: Hub._settle and Hub._enter charge the next connection, wherever it is; Gate says what was spent with both ends."""
    town = Town(limits=CHAT)
    town.elsewhere.ids = iter([7, 7])
    older, _ = town.player(0)
    talked(older, 2)
    town.settle()
    late: list[AnyUp] = []
    if how == "lost":
        older.connection_lost(None)
        town.settle()
    newer, transport = town.sides[side].connect(HANDSHAKE)
    town.sides[side].settle()
    newer.data_received(frame(HELLO))
    town.sides[side].up()
    if how.endswith("late") and side == 1:
        town.sides[0].down()
        late, town.sides[0].going_up[:] = list(town.sides[0].going_up), []
    town.settle()
    town.tick()
    town.sides[0].going_up[:0] = late
    town.settle()
    transport.take()
    talked(newer, 2)
    town.settle()
    town.tick()
    town.settle()
    assert refusals(transport) == [RefusalCode.RATE_LIMITED]


async def test_what_one_address_may_ask_is_of_all_its_players_on_all_sides_and_of_nobody_else() -> None:
    """Guard: Hub._over_rate."""
    town = Town(limits={"requests_per_address": {"per_s": 0.001, "burst": 3}})
    players = [town.player(0), town.player(1)]
    for connection, _ in players:
        talked(connection, 2)
    town.settle()
    town.tick()
    town.settle()
    assert sorted(len(refusals(transport)) for _, transport in players) == [0, 1]
    other, transport = town.player(1)
    town.hub._callers[other.session.number].network = "198.51.100.7"
    talked(other, 3)
    town.settle()
    town.tick()
    assert refusals(transport) == []


class Registrar:
    """Accounts that are asked, and answer when the test says so."""

    def __init__(self) -> None:
        self.asked: list[Callable[[Done], None]] = []
        self.over: set[UUID] = set()  # sessions whose time is up

    def lapsed(self, _: str, __: UUID | None) -> bool:
        return False

    def forget_ended(self, over: Callable[[set[UUID]], None]) -> None:
        over(self.over)

    def ask(self, _: Asker, __: object, answer: Callable[[Done], None]) -> None:
        self.asked.append(answer)


def registrar(**limits: Any) -> tuple[Town, Registrar]:
    """A town with such limits, in which accounts can be made."""
    town, accounts = Town(limits=limits), Registrar()
    town.hub.accounts = accounts  # type: ignore[assignment]
    return town, accounts


def ask_from(town: Town, request: ClientMessage) -> PausingTransport:
    """A new connection that has not said hello asks for it, and what it hears."""
    connection, transport = town.sides[0].connect(HANDSHAKE)
    town.settle()
    transport.take()
    connection.data_received(frame(codec.encode(request)))
    town.settle()
    return transport


async def test_what_one_address_asks_of_accounts_is_counted_over_all_its_connections() -> None:
    """Guard: `account_requests` in Hub._account. Each connection here is a new one, with buckets of its own that are full."""
    town, accounts = registrar(account_requests_per_address={"per_s": 0.001, "burst": 3})
    told = [refusals(ask_from(town, AccountLogin(1, "Ann", "x"))) for _ in range(5)]
    assert told == [[]] * 3 + [[RefusalCode.RATE_LIMITED]] * 2
    assert len(accounts.asked) == 3
    town.hub.buckets["account_requests"].give_back("192.0.2.1")
    assert refusals(ask_from(town, AccountLogin(1, "Ann", "x"))) == []


async def test_who_is_kept_out_makes_no_account_and_may_sign_in_to_be_told_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Guard: `bars` in Hub._account. A moderator at a banned address signs in, too; who may not come in is told so after the hello."""
    town, accounts = registrar()
    banned = Refusal(RefusalCode.BANNED, "Your address is banned.")
    monkeypatch.setattr(town.hub.moderation, "bars", lambda *_: banned)
    assert refusals(ask_from(town, AccountRegister(1, bytes(16), "Ann", "", "x"))) == [RefusalCode.BANNED]
    assert refusals(ask_from(town, AccountLogin(1, "Ann", "x"))) == []
    assert len(accounts.asked) == 1


async def test_so_many_accounts_are_made_from_one_address_and_what_is_refused_costs_nothing() -> None:
    """Guards: `registrations` in Hub._account, and give_back there."""
    town, accounts = registrar(registrations_per_address={"per_s": 0.001, "burst": 2})
    register = AccountRegister(1, bytes(16), "Ann", "", "x")
    for _ in range(5):
        assert refusals(ask_from(town, register)) == []
        accounts.asked.pop()(Done(Refusal(RefusalCode.NAME_TAKEN, "Somebody is called so.")))
    told = [refusals(ask_from(town, register)) for _ in range(4)]
    assert told == [[]] * 2 + [[RefusalCode.RATE_LIMITED]] * 2
    assert refusals(ask_from(town, AccountLogin(1, "Ann", "x"))) == []  # who has one signs in


async def test_who_plays_on_in_a_session_whose_time_is_up_is_signed_out_when_the_hub_looks() -> None:
    """Guard: end_sessions, which Hub.publish hands to Accounts.forget_ended."""
    town, accounts = registrar()
    (_, stays), (connection, goes) = town.player(0), town.player(1)
    session_id = town.hub._callers[connection.session.number].session_id = uuid4()
    accounts.over.add(session_id)
    town.world.tick = FORGET_GUESTS_S * town.config.world.tick_hz - 1
    town.tick()
    town.settle()
    assert [one.code for one in messages(goes.take()) if isinstance(one, Closing)] == [CloseCode.REVOKED]
    assert not [one for one in messages(stays.take()) if isinstance(one, Closing)]


async def test_so_many_lines_come_from_one_address_and_the_next_is_told_429() -> None:
    """Guard: Hub._admit takes from the bucket of the address, whatever became of those before."""
    town = Town(limits={"connects_per_address": {"per_s": 0.001, "burst": 2}})
    answers = []
    for number in (0, 1, 0):
        connection, transport = town.sides[number].connect(HANDSHAKE)
        town.settle()
        answers.append(transport.take()[9:12])
        connection.connection_lost(None)
        town.settle()
    assert answers == [b"101", b"101", b"429"]
