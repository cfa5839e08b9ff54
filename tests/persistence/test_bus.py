"""The bus over a real Valkey: what is told is heard, also by who was away, and nobody waits for a Redis that does not answer."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import pytest_asyncio

from persistence.bus import Bus, Channel
from server.config import RateConfig
from server.session import Buckets
from tests.valkey import Valkey, valkey

WAIT_S = 60.0


@pytest.fixture
def redis() -> Iterator[Valkey]:
    with valkey() as server:
        yield server


class Member:
    """A server on the bus, with what it heard."""

    def __init__(self, redis: Valkey, prefix: str = "test") -> None:
        self.bus = Bus(redis.url, prefix, "hush")
        self.heard: list[str] = []
        self.ages_s: list[float] = []
        self.bus.hear(Channel.ENDED, self._take)

    def _take(self, text: str, age_s: float) -> None:
        self.heard.append(text)
        self.ages_s.append(age_s)

    async def until_sure(self) -> None:
        await until(lambda: self.bus.sure)


Join = Callable[..., Member]


@pytest_asyncio.fixture
async def join(redis: Valkey) -> AsyncIterator[Join]:
    members: list[Member] = []

    def member(prefix: str = "test") -> Member:
        members.append(Member(redis, prefix))
        members[-1].bus.start()
        return members[-1]

    yield member
    for one in members:
        await one.bus.stop()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not holds():  # noqa: ASYNC110 (it depends on another process)
            await asyncio.sleep(0.01)


async def test_what_one_tells_the_others_hear_in_order_and_nobody_of_another_prefix(join: Join) -> None:
    ann, bob, far = join(), join(), join("elsewhere")
    for number in range(1_500):  # more than fits into a turn
        ann.bus.tell(Channel.ENDED, str(number))
    await until(lambda: len(bob.heard) == 1_500)
    assert bob.heard == [str(number) for number in range(1_500)]
    assert ann.heard == []
    await far.until_sure()
    assert far.heard == []


async def test_who_comes_later_hears_what_was_told_before(join: Join) -> None:
    """Guard: Bus._begin_anew reads from as far back as the stream is kept."""
    ann = join()
    ann.bus.tell(Channel.ENDED, "s1")
    await until(lambda: not ann.bus.waiting)
    late = join()
    await late.until_sure()
    assert late.heard == ["s1"]


async def test_who_was_away_hears_what_was_told_meanwhile(join: Join) -> None:
    """Guard: Stream.read_id is kept over the loss."""
    ann, bob = join(), join()
    await bob.until_sure()
    await bob.bus.stop()
    ann.bus.tell(Channel.ENDED, "s1")
    await until(lambda: not ann.bus.waiting)
    bob.bus.start()
    await until(lambda: bob.heard == ["s1"])


async def test_after_redis_lost_its_memory_all_of_it_is_told_again(redis: Valkey, join: Join) -> None:
    """Guards: Stream.told and `born`. Who comes afterwards is not sure before those who know have had the time to tell."""
    ann = join()
    ann.bus.tell(Channel.ENDED, "before")
    await until(lambda: not ann.bus.waiting)
    redis.kill()
    await until(lambda: not ann.bus.up)
    ann.bus.tell(Channel.ENDED, "meanwhile")
    redis.start()
    late = join()
    await late.until_sure()
    assert late.heard == ["before", "meanwhile"]
    assert late.ages_s[1] > 0


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_while_redis_is_away_nobody_is_sure_and_nobody_waits(
    redis: Valkey, join: Join, how: signal.Signals
) -> None:
    """Guards: TIMEOUT_S of the client; Bus._lose answers who asked."""
    ann, bob = join(), join()
    for one in (ann, bob):
        await one.until_sure()
    bob.bus.here = lambda: {"name:bob"}
    await until(lambda: bool(ann.bus.servers))
    if how == signal.SIGKILL:
        redis.kill()
    else:
        redis.signal(how)
    answers: list[bool] = []
    ann.bus.find("name:bob", answers.append)  # nobody knows yet that it is away
    await until(lambda: not ann.bus.up)
    assert answers == [False]
    ann.bus.find("name:bob", answers.append)
    assert answers == [False, False]
    assert not ann.bus.sure
    ann.bus.tell(Channel.ENDED, "s1")
    if how == signal.SIGKILL:
        redis.start()
    else:
        redis.signal(signal.SIGCONT)
    await until(lambda: "s1" in bob.heard)
    await ann.until_sure()
    assert ann.bus.outages_total == 1


async def test_who_is_in_elsewhere_is_found(join: Join) -> None:
    ann, bob = join(), join()
    who = {"name:bob", "name:ben"}
    bob.bus.here = lambda: who
    await until(lambda: bool(ann.bus.servers))

    async def found(key: str) -> bool:
        answers: list[bool] = []
        ann.bus.find(key, answers.append)
        await until(lambda: bool(answers))
        return answers[0]

    async def until_found(key: str, is_in: bool) -> None:
        async with asyncio.timeout(WAIT_S):
            while await found(key) != is_in:  # noqa: ASYNC110 (it depends on another process)
                await asyncio.sleep(0.01)

    await until_found("name:bob", True)
    assert not await found("name:ann")
    who = {"name:ben"}
    await until_found("name:bob", False)
    assert await found("name:ben")


async def test_what_is_taken_on_one_server_is_taken_on_all(join: Join) -> None:
    """Guards: Bus._gather_spent and Bus._take_spent; Buckets.drain and Buckets.charge."""
    rate = RateConfig(per_s=0.001, burst=10)
    ann, bob = join(), join()
    mine, theirs = Buckets(rate, 10), Buckets(rate, 10)
    ann.bus.share("hellos", mine)
    bob.bus.share("hellos", theirs)
    for one in (ann, bob):
        await one.until_sure()
    now_s = asyncio.get_running_loop().time
    assert [mine.take("a", now_s()) for _ in range(9)] == [0] * 9
    assert mine.take("b", now_s()) == 0
    await until(lambda: len(theirs) == 2)
    assert theirs.take("a", now_s()) == 0
    assert theirs.take("a", now_s()) > 0
    await until(lambda: mine.take("a", now_s()) > 0)
    assert [theirs.take("b", now_s()) for _ in range(9)] == [0] * 9


async def test_a_message_of_another_version_is_passed_over(redis: Valkey, join: Join) -> None:
    """Guard: Bus._take. Who can write to Redis could else stop every server."""
    ann, bob = join(), join()
    await bob.until_sure()
    bob.bus.share("hellos", Buckets(RateConfig(per_s=1, burst=1), 10))
    client = redis.client()
    for fields in (
        {"text": "no time"},
        {"late_ms": "soon", "text": "x"},
        {"late_ms": "0"},
    ):
        client.xadd("test:ended", fields)  # type: ignore[arg-type]
    for text in ("[]", "{", '{"hellos": 3}', '{"hellos": {"a": "x"}}', '{"hellos": {"a": null}}'):
        client.xadd("test:spent", {"late_ms": "0", "text": text})
    ann.bus.tell(Channel.ENDED, "s1")
    await until(lambda: bob.heard == ["s1"])
    assert bob.bus.up
    assert bob.bus.outages_total == 0


async def test_what_waits_for_redis_is_bounded(redis: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guard: WAITING_MAX."""
    monkeypatch.setattr("persistence.bus.WAITING_MAX", 3)
    redis.kill()
    bus = Bus(redis.url, "test", "hush")
    for number in range(10):
        bus.tell(Channel.ENDED, str(number))
    assert bus.waiting == 3
