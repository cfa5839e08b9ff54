"""What servers that share a Redis tell each other: sessions that ended, wrong passwords, what an address spent, and who is in.

There is no lock in Redis, no money, and nothing that anybody waits for. Every question is answered here, at once, from memory; one
task, in a turn twenty times a second, sends what is to be told and takes in what others told. So a Redis that is slow or away costs
nobody anything but the news of others: each server goes on by its own limits, and catches up when Redis is back.

    {prefix}:ended    stream: sessions that ended         kept as long as a session may last, so that nobody misses one while away
    {prefix}:tries    stream: passwords, right or wrong   kept as long as a name may be locked
    {prefix}:spent    stream: tokens taken from buckets   of this moment: who is away misses it
    {prefix}:born     when this memory began, for Redis may come back with less than it had
    {prefix}:servers  sorted set: the servers, by when they were heard of last
    {prefix}:in:ID    set: the players of a server; it vanishes DEAD_S after that was heard of last

A server reads each stream from where it stopped, and at its start from as far back as it is kept. What is to be told while Redis is
away waits here. If Redis lost its memory (`born` is another), everybody tells again which sessions they ended, and until that memory
is SETTLE_S old nobody is sure to have heard it all.

`sure` says whether one would know of a session that was ended elsewhere. What must not be done by a session that may be over is for
the callers to refuse while it is False (server/hub.py).
"""

import asyncio
import contextlib
import hashlib
import json
import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from itertools import count
from typing import Any, Protocol

import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

TURN_S = 0.05  # between two turns: so soon others hear of what ended
TIMEOUT_S = 0.5  # for any one answer; a Redis that is slower is away
FRESH_S = 1.5  # what was heard is no older than this, or one is not sure
PAUSE_S = 0.5  # before the next try while it is away
SETTLE_S = 2.0  # by then all who live have come back, and have told again what a new memory does not hold
SPEND_TURNS = 4  # what was spent is told every so many turns
BEAT_TURNS = 20  # and that one lives every so many
DEAD_S = 15  # who has not said so for that long is taken for dead
READ_MAX = 1_000  # messages of a stream in one turn
TELL_MAX = 500  # messages told in one turn
WAITING_MAX = (
    65_536  # messages of a stream that wait for Redis, and as many that may be told again; the oldest go
)
SPENT_MAX = 1_000  # buckets of a kind told of in one message: those that spent most
MOVED_MAX = 1_000  # players in one command
FIND_MAX = 1_024  # questions in one turn
DAY_MS = 86_400_000

log = structlog.get_logger()


class Channel(Enum):
    """A stream, and for how long its messages are kept."""

    ENDED = "ended", 30 * DAY_MS
    TRIES = "tries", DAY_MS
    SPENT = "spent", 10_000

    def __init__(self, key: str, keep_ms: int) -> None:
        self.key = key
        self.keep_ms = keep_ms


class Spender(Protocol):
    """Buckets that are shared (server/session.py)."""

    is_shared: bool

    def drain(self) -> dict[str, int]:
        """What was taken from each since the last time."""

    def charge(self, key: str, tokens: float, now_s: float) -> None:
        """Takes what was taken elsewhere."""


Message = tuple[float, str]  # when it was to be told, in seconds of the loop, and what


def _bounded() -> "deque[Message]":
    return deque(maxlen=WAITING_MAX)


@dataclass(slots=True)
class Stream:
    """A channel, as this server stands to it."""

    channel: Channel
    waiting: "deque[Message]" = field(default_factory=_bounded)
    told: "deque[Message]" = field(default_factory=_bounded)  # of ENDED, for a Redis that forgets
    read_id: str = ""  # of the last message that was read
    behind: bool = True  # there may be more to read


class Batch:
    """Commands for one round trip, and who takes the answer of each."""

    def __init__(self) -> None:
        self._commands: list[tuple[Any, ...]] = []
        self._takers: list[Callable[[Any], None] | None] = []

    def add(self, *command: Any, take: Callable[[Any], None] | None = None) -> None:
        """A command."""
        self._commands.append(command)
        self._takers.append(take)

    async def send(self, client: Redis) -> None:
        """Sends all, then hands out the answers. Raises RedisError and OSError."""
        pipeline = client.pipeline(transaction=False)
        for command in self._commands:
            pipeline.execute_command(*command)
        for take, answer in zip(self._takers, await pipeline.execute(), strict=True):
            if take is not None:
                take(answer)


class Bus:
    """All methods but `settle` and `stop` return at once; all are for the loop's thread."""

    def __init__(self, url: str, prefix: str, secret: str) -> None:
        self.id = secrets.token_hex(8)
        self.up = False  # Redis answers
        self.servers: set[str] = set()  # others that live
        self.outages_total = self.told_total = self.heard_total = 0
        self._url = url
        self._prefix = prefix
        self._digest_key = hashlib.sha256(secret.encode()).digest()
        self._loop = asyncio.get_running_loop()
        self._streams = {channel: Stream(channel) for channel in Channel}
        self._takers: dict[Channel, Callable[[str, float], None]] = {Channel.SPENT: self._take_spent}
        self._shared: dict[str, Spender] = {}
        self.here: Callable[[], set[str]] = set  # the keys of who is in here
        self._said: set[str] = set()  # of whom others are told that they are in here
        self._asked: deque[tuple[str, Callable[[bool], None]]] = deque()
        self._born = ""
        self._clock_ms = 0.0  # Redis' clock, less the loop's
        self._heard_s = self._settled_s = float("-inf")
        self._wake = asyncio.Event()
        self._settled = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def sure(self) -> bool:
        """Whether a session that was ended elsewhere would be known to have ended."""
        now_s = self._loop.time()
        fresh = now_s - self._heard_s < FRESH_S and not self._streams[Channel.ENDED].behind
        return self.up and fresh and now_s >= self._settled_s

    @property
    def waiting(self) -> int:
        """Messages that Redis does not have yet."""
        return sum(len(stream.waiting) for stream in self._streams.values())

    # --- for the server --------------------------------------------------------------------------------------------------------

    def pseudonym(self, text: str) -> str:
        """What stands in Redis for an address or a name that was tried: alike on all servers with the secret."""
        return hashlib.blake2b(text.encode(), key=self._digest_key, digest_size=16).hexdigest()

    def hear(self, channel: Channel, take: Callable[[str, float], None]) -> None:
        """`take` gets what others tell on a channel, and how many seconds ago it was; perhaps more than once."""
        self._takers[channel] = take

    def tell(self, channel: Channel, text: str) -> None:
        """Tells all others, once Redis is there."""
        self._streams[channel].waiting.append((self._loop.time(), text))
        self._wake.set()

    def share(self, name: str, spender: Spender) -> None:
        """What is taken from these buckets is taken from those of the same name on all servers."""
        spender.is_shared = True
        self._shared[name] = spender

    def find(self, key: str, answer: Callable[[bool], None]) -> None:
        """Answers whether a player is in on another server; False where that cannot be known now."""
        if not self.up or not self.servers or len(self._asked) >= FIND_MAX:
            answer(False)
        else:
            self._asked.append((key, answer))
            self._wake.set()

    def start(self) -> "asyncio.Task[None]":
        """Begins; returns the work, to be supervised."""
        self._task = asyncio.create_task(self._serve(), name="bus")
        return self._task

    async def settle(self) -> None:
        """Waits until it is sure, but no longer than that takes where Redis answers."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_S + 2 * TIMEOUT_S):
                await self._settled.wait()

    async def stop(self) -> None:
        """Ends. What waits for Redis is not told."""
        task = self._task
        while task is not None and not task.done():
            task.cancel()  # again, if need be: redis-py writes under wait_for, which until Python 3.12 may swallow it (gh-86296)
            await asyncio.wait({task}, timeout=TURN_S)

    # --- the task --------------------------------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        said_away = False
        while True:
            client = self._client()
            try:
                await self._begin(client)
                for turn in count():
                    await self._turn(client, turn)
                    if said_away:
                        said_away = False
                        log.info("redis_back", waiting=self.waiting)
                    await self._pause()
            except (RedisError, OSError) as error:
                self._lose()
                if not said_away:
                    said_away = True
                    self.outages_total += 1
                    log.warning("redis_away", error=str(error) or type(error).__name__)
            finally:
                await _close(client)
            await asyncio.sleep(PAUSE_S)

    def _client(self) -> Redis:
        client: Redis = Redis.from_url(
            self._url,
            protocol=2,
            decode_responses=True,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )
        return client

    def _lose(self) -> None:
        """Redis is away: nobody waits for it."""
        self.up = False
        self.servers = set()
        self._settled.clear()
        while self._asked:
            self._asked.popleft()[1](False)

    async def _pause(self) -> None:
        """Until the next turn is due, or there is something to tell."""
        waker = self._loop.call_later(TURN_S, self._wake.set)
        await self._wake.wait()
        waker.cancel()
        self._wake.clear()

    async def _begin(self, client: Redis) -> None:
        """Finds out what Redis remembers, from where on to read, and forgets what was spent meanwhile."""
        asked = Batch()
        asked.add("TIME", take=self._set_clock)
        await asked.send(client)
        born: list[str] = []
        asked = Batch()
        asked.add("SET", self._key("born"), f"{self._redis_ms()}-{self.id}", "NX")
        asked.add("GET", self._key("born"), take=born.append)
        asked.add("DEL", self._key("in", self.id))
        await asked.send(client)
        if born[0] != self._born:
            self._born = born[0]
            self._begin_anew()
        age_s = (self._redis_ms() - int(self._born.partition("-")[0])) / 1_000
        self._settled_s = self._loop.time() + max(0.0, SETTLE_S - age_s)
        self._said = set()
        for spender in self._shared.values():
            spender.drain()

    def _begin_anew(self) -> None:
        """A memory that this server does not know: all of it is to be read, and what this server ended is told again."""
        for stream in self._streams.values():
            keep_ms = 0 if stream.channel is Channel.SPENT else stream.channel.keep_ms
            stream.read_id = f"{self._redis_ms() - keep_ms}-0"
            stream.behind = True
        ended = self._streams[Channel.ENDED]
        ended.waiting.extendleft(reversed(ended.told))
        ended.told.clear()

    async def _turn(self, client: Redis, turn: int) -> None:
        """One round trip: tells, asks and reads."""
        batch = Batch()
        names = [self._key(stream.channel.key) for stream in self._streams.values()]
        ids = [stream.read_id for stream in self._streams.values()]
        batch.add("XREAD", "COUNT", READ_MAX, "STREAMS", *names, *ids, take=self._read)
        if turn % SPEND_TURNS == 0:
            self._gather_spent()
        if turn % BEAT_TURNS == 0:
            self._add_beat(batch)
        asked = [self._asked.popleft() for _ in range(len(self._asked))]
        found = [self._add_question(batch, key) for key, _ in asked]
        sent = {stream.channel: self._add_told(batch, stream) for stream in self._streams.values()}
        try:
            await batch.send(client)
        except BaseException:
            self._asked.extend(asked)
            for channel, messages in sent.items():
                self._streams[channel].waiting.extendleft(reversed(messages))  # told twice is no harm
            raise
        self._was_told(sent)
        for (_, answer), where in zip(asked, found, strict=True):
            answer(any(where))
        self.up = True
        self._heard_s = self._loop.time()
        if self.sure:
            self._settled.set()

    # --- what is told ----------------------------------------------------------------------------------------------------------

    def _add_told(self, batch: Batch, stream: Stream) -> list[Message]:
        now_s, oldest_ms = self._loop.time(), self._redis_ms() - stream.channel.keep_ms
        messages = [stream.waiting.popleft() for _ in range(min(TELL_MAX, len(stream.waiting)))]
        for at_s, text in messages:
            late_ms = round((now_s - at_s) * 1_000)
            fields = ("by", self.id, "late_ms", late_ms, "text", text)
            batch.add("XADD", self._key(stream.channel.key), "MINID", "~", oldest_ms, "*", *fields)
        return messages

    def _was_told(self, sent: dict[Channel, list[Message]]) -> None:
        self.told_total += sum(map(len, sent.values()))
        self._streams[Channel.ENDED].told.extend(sent[Channel.ENDED])

    def _gather_spent(self) -> None:
        spent = {}
        for name, spender in self._shared.items():
            taken = sorted(spender.drain().items(), key=lambda one: -one[1])
            if taken:
                spent[name] = dict(taken[:SPENT_MAX])
        if spent:
            self._streams[Channel.SPENT].waiting.append((self._loop.time(), json.dumps(spent)))

    def _add_beat(self, batch: Batch) -> None:
        """Says that this server lives and who is in, and looks who else lives."""
        here, servers, now_ms = self._key("in", self.id), self._key("servers"), self._redis_ms()
        keys, said = self.here(), self._said
        for command, moved in (("SADD", list(keys - said)), ("SREM", list(said - keys))):
            for start in range(0, len(moved), MOVED_MAX):
                batch.add(command, here, *moved[start : start + MOVED_MAX])
        self._said = keys
        batch.add("SADD", here, "")  # a set that holds nobody would not be there
        batch.add("EXPIRE", here, DEAD_S)
        batch.add("ZADD", servers, now_ms, self.id)
        batch.add("ZREMRANGEBYSCORE", servers, "-inf", now_ms - DEAD_S * 1_000)
        batch.add("ZRANGE", servers, 0, -1, take=self._take_servers)

    def _add_question(self, batch: Batch, key: str) -> list[bool]:
        """Whether each of the others has this player, once the answers are there."""
        found: list[bool] = []
        for other in self.servers:
            batch.add("SISMEMBER", self._key("in", other), key, take=lambda is_in: found.append(bool(is_in)))
        return found

    # --- what is heard ---------------------------------------------------------------------------------------------------------

    def _read(self, answer: list[Any]) -> None:
        """What all have told since the last turn."""
        told = dict(answer)
        for stream in self._streams.values():
            messages = told.get(self._key(stream.channel.key), [])
            for message_id, fields in messages:
                stream.read_id = message_id
                if fields.get("by") != self.id:
                    self._take(stream.channel, message_id, fields)
            stream.behind = len(messages) == READ_MAX

    def _take(self, channel: Channel, message_id: str, fields: dict[str, str]) -> None:
        self.heard_total += 1
        try:
            age_ms = self._redis_ms() - int(message_id.partition("-")[0]) + int(fields["late_ms"])
            self._takers.get(channel, _not_wanted)(fields["text"], max(0.0, age_ms / 1_000))
        except (
            KeyError,
            ValueError,
            TypeError,
            AttributeError,
        ) as error:  # another version's, or not from a server at all
            log.warning("redis_message_not_understood", channel=channel.key, error=repr(error))

    def _take_spent(self, text: str, _: float) -> None:
        for name, taken in json.loads(text).items():
            spender = self._shared.get(name)
            if spender is None:
                continue
            for key, tokens in taken.items():
                spender.charge(key, float(tokens), self._loop.time())

    def _take_servers(self, answer: list[str]) -> None:
        self.servers = set(answer) - {self.id}

    def _set_clock(self, answer: tuple[int, int]) -> None:
        seconds, microseconds = answer
        self._clock_ms = int(seconds) * 1_000 + int(microseconds) / 1_000 - self._loop.time() * 1_000

    def _redis_ms(self) -> int:
        """Redis' clock, in milliseconds since 1970."""
        return int(self._clock_ms + self._loop.time() * 1_000)

    def _key(self, *names: str) -> str:
        return ":".join((self._prefix, *names))


def _not_wanted(_: str, __: float) -> None:
    """Nobody here listens to this channel."""


async def _close(client: Redis) -> None:
    """Lets go of the connection, whatever state it is in."""
    with contextlib.suppress(RedisError, OSError):
        await client.aclose()
