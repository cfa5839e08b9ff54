"""May this client send this message now? What it may not is settled here, once.

A session is pure: the time is an argument, and nothing is sent from here. For each message comes out one of

    a `Say`            for the world
    a `Refused`        the message is not done; the connection lives on
    the message again  an intent, or something outside must be waited for: a database row, a piece of ground
    ProtocolError      the connection is closed

in the order in which it is asked: the state (a table: `rule.states` of each message), the rate (a hello's is that of its address, which
the hub asks for), the role. What the role forbids is paid for, too: a refusal costs as much as an answer.

Three buckets stand behind a message. That of the connection is here. A player has one live connection, so it is the account's as well:
what is missing in it when the connection ends is charged to the next one (`Debts`), and to come back refills nothing. That of the
address, for what costs the whole server something, is the hub's.
"""

from collections import OrderedDict, deque

from protocol.errors import CloseCode, ProtocolError, RefusalCode
from protocol.messages import ChatSay, ClientMessage, Hello, Rate, Refused, Role, State
from server.config import LimitsConfig, RateConfig, RatesConfig
from world.commands import Say

ROLES = list(Role)


class Bucket:
    """A token bucket: `per_s` on average, `burst` at once. Times in seconds of any clock that does not go back."""

    __slots__ = ("at_s", "config", "tokens")

    def __init__(self, config: RateConfig, now_s: float) -> None:
        self.config = config
        self.tokens = float(config.burst)
        self.at_s = now_s

    def take(self, now_s: float) -> int:
        """Takes a token and returns 0, or returns the milliseconds until there is one."""
        self._refill(now_s)
        if self.tokens >= 1.0:
            self.tokens -= 1.0
            return 0
        return max(1, round((1.0 - self.tokens) / self.config.per_s * 1000))

    def give_back(self) -> None:
        """What was taken was not needed."""
        self.tokens = min(self.tokens + 1.0, float(self.config.burst))

    def missing(self, now_s: float) -> float:
        """What it would take to fill it."""
        self._refill(now_s)
        return self.config.burst - self.tokens

    def charge(self, tokens: float, now_s: float) -> None:
        """Takes what was spent elsewhere, even if that is more than there is; never more than a burst is owed."""
        self._refill(now_s)
        self.tokens = max(self.tokens - tokens, -float(self.config.burst))

    def _refill(self, now_s: float) -> None:
        refill = (now_s - self.at_s) * self.config.per_s
        self.tokens = min(self.tokens + refill, float(self.config.burst))
        self.at_s = now_s


class Buckets:
    """A bucket for each key, forgotten once it is full again; of more than `keys_max` the one asked longest ago goes.

    `is_shared`: other servers have the same buckets, and are told what was taken here (persistence/bus.py).
    """

    def __init__(self, config: RateConfig, keys_max: int) -> None:
        self._config = config
        self._keys_max = keys_max
        self._fill_s = config.burst / config.per_s
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()  # the one asked longest ago stands first
        self.is_shared = False
        self._taken: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, key: str, now_s: float) -> int:
        """As `Bucket.take`."""
        wait_ms = self._bucket(key, now_s).take(now_s)
        self._forget(now_s)
        if self.is_shared and not wait_ms and len(self._taken) < self._keys_max:
            self._taken[key] = self._taken.get(key, 0) + 1
        return wait_ms

    def drain(self) -> dict[str, int]:
        """What was taken here from each since the last time, where it is shared."""
        taken, self._taken = self._taken, {}
        return taken

    def charge(self, key: str, tokens: float, now_s: float) -> None:
        """Takes what was taken elsewhere, as far as it is there."""
        bucket = self._bucket(key, now_s)
        bucket.charge(min(tokens, self._config.burst - bucket.missing(now_s)), now_s)
        self._forget(now_s)

    def _bucket(self, key: str, now_s: float) -> Bucket:
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = Bucket(self._config, now_s)
        self._buckets.move_to_end(key)
        return bucket

    def _forget(self, now_s: float) -> None:
        while len(self) > self._keys_max or now_s - next(iter(self._buckets.values())).at_s >= self._fill_s:
            self._buckets.popitem(last=False)

    def give_back(self, key: str) -> None:
        """As `Bucket.give_back`; a bucket that is forgotten is full."""
        bucket = self._buckets.get(key)
        if bucket is not None:
            bucket.give_back()
        if self._taken.get(key):  # else it was told already
            self._taken[key] -= 1


Spent = dict[str, float]  # by Rate: what is missing in the bucket


class Debts:
    """What was missing in players' buckets when their connections ended, until it would be made up for.

    Of more than `players_max` the one who left longest ago is forgiven.
    """

    def __init__(self, rates: RatesConfig, players_max: int) -> None:
        self._rates = rates
        self._players_max = players_max
        # The longest that a bucket takes from owing a burst to being full.
        self._made_up_s = max(2 * rate.burst / rate.per_s for _, rate in rates)
        self._debts: OrderedDict[int, tuple[Spent, float]] = (
            OrderedDict()
        )  # who left longest ago stands first

    def __len__(self) -> int:
        return len(self._debts)

    def put(self, player_id: int, spent: Spent, now_s: float) -> None:
        """A connection of theirs ended."""
        if spent:
            self._debts[player_id] = spent, now_s
            self._debts.move_to_end(player_id)
        while self._debts and (
            len(self) > self._players_max or now_s - next(iter(self._debts.values()))[1] >= self._made_up_s
        ):
            self._debts.popitem(last=False)

    def take(self, player_id: int, now_s: float) -> Spent:
        """What is still missing: the next connection's to pay."""
        spent, at_s = self._debts.pop(player_id, ({}, now_s))
        left = {
            name: missing - (now_s - at_s) * getattr(self._rates, name).per_s
            for name, missing in spent.items()
        }
        return {name: missing for name, missing in left.items() if missing > 0}


class Session:
    """What one connection may do."""

    __slots__ = (
        "_buckets",
        "_limits",
        "_refusals_at_s",
        "number",
        "player_id",
        "role",
        "state",
    )

    def __init__(self, limits: LimitsConfig) -> None:
        self.state = State.NEW
        self.role = Role.GUEST
        self.player_id = 0
        self.number = 0  # of this connection, so that nobody else gets its answers
        self._limits = limits
        self._buckets: dict[Rate, Bucket] = {}
        self._refusals_at_s: deque[float] | None = None

    def joining(self) -> None:
        """The hello is being looked at."""
        self.state = State.JOINING

    def playing(self, player_id: int, role: Role) -> None:
        """Welcome."""
        self.state, self.player_id, self.role = State.PLAYING, player_id, role

    def become(self, role: Role) -> None:
        """The same player has another role."""
        self.role = role

    def receive(self, message: ClientMessage, now_s: float) -> Say | Refused | ClientMessage:
        """What becomes of a message. Raises ProtocolError for a message out of place and for flooding."""
        rule = message.rule
        if self.state not in rule.states:
            raise ProtocolError(CloseCode.POLICY_VIOLATION, self._out_of_place(message))
        wait_ms = 0 if rule.rate is Rate.HELLO else self.pay(rule.rate, now_s)
        if wait_ms:
            return self._refuse(message, RefusalCode.RATE_LIMITED, "Too often; wait a moment.", wait_ms)
        if rule.role is not Role.GUEST and ROLES.index(self.role) < ROLES.index(rule.role):
            return self._refuse(message, RefusalCode.NOT_ALLOWED, f"This needs the role {rule.role.value}.")
        if isinstance(message, ChatSay):
            to = message.to
            return Say(self.player_id, message.request_id, message.channel, message.text, to, self.number)
        return message

    def pay(self, rate: Rate, now_s: float) -> int:
        """Takes a token and returns 0, or returns the milliseconds until there is one. Raises ProtocolError for flooding."""
        wait_ms = self._bucket(rate, now_s).take(now_s)
        if wait_ms:
            self._count_refusal(now_s)
        return wait_ms

    def spent(self, now_s: float) -> Spent:
        """What is missing in its buckets."""
        missing = {rate.value: bucket.missing(now_s) for rate, bucket in self._buckets.items()}
        return {name: tokens for name, tokens in missing.items() if tokens > 0}

    def charge(self, spent: Spent, now_s: float) -> None:
        """Pays what an older connection of the same player had spent."""
        for name, tokens in spent.items():
            self._bucket(Rate(name), now_s).charge(tokens, now_s)

    def _out_of_place(self, message: ClientMessage) -> str:
        if isinstance(message, Hello):
            return "hello may be sent once"
        if self.state is State.NEW:
            return "the first message must be hello, or one that makes a token for it"
        return "wait for welcome before sending more"

    def _bucket(self, rate: Rate, now_s: float) -> Bucket:
        bucket = self._buckets.get(rate)
        if bucket is None:
            bucket = self._buckets[rate] = Bucket(getattr(self._limits.rates, rate.value), now_s)
        return bucket

    def _count_refusal(self, now_s: float) -> None:
        """Who goes on sending against refusals is flooding."""
        limits = self._limits
        if self._refusals_at_s is None:
            self._refusals_at_s = deque(maxlen=limits.flood_refusals_max)
        refusals = self._refusals_at_s
        refusals.append(now_s)
        if len(refusals) == limits.flood_refusals_max and now_s - refusals[0] < limits.flood_window_s:
            raise ProtocolError(CloseCode.FLOODING, "kept sending against refusals")

    @staticmethod
    def _refuse(
        message: ClientMessage, code: RefusalCode, advice: str, retry_ms: int | None = None
    ) -> Refused:
        return Refused(getattr(message, "request_id", 0), code, advice, retry_ms)
