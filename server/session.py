"""May this client send this message now? What it may not is settled here, once.

A session is pure: the time is an argument, and nothing is sent from here. For each message comes out one of

    a `Say`            for the world
    a `Refused`        the message is not done; the connection lives on
    the message again  an intent, or something outside must be waited for: a database row, a piece of ground
    ProtocolError      the connection is closed

in the order in which it is asked: the state (a table: `rule.state` of each message), the rate (a hello's is that of its address, which
the hub asks for), the role. What the role forbids is paid for, too: a refusal costs as much as an answer.
"""

from collections import OrderedDict, deque

from protocol.errors import CloseCode, ProtocolError, RefusalCode
from protocol.messages import ChatSay, ClientMessage, Hello, Rate, Refused, Role, State
from server.config import LimitsConfig, RateConfig
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
        refill = (now_s - self.at_s) * self.config.per_s
        self.tokens = min(self.tokens + refill, float(self.config.burst))
        self.at_s = now_s
        if self.tokens >= 1.0:
            self.tokens -= 1.0
            return 0
        return max(1, round((1.0 - self.tokens) / self.config.per_s * 1000))


class Buckets:
    """A bucket for each key, forgotten once it is full again; of more than `keys_max` the one asked longest ago goes."""

    def __init__(self, config: RateConfig, keys_max: int) -> None:
        self._config = config
        self._keys_max = keys_max
        self._fill_s = config.burst / config.per_s
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()  # the one asked longest ago stands first

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, key: str, now_s: float) -> int:
        """As `Bucket.take`."""
        bucket = self._buckets.setdefault(key, Bucket(self._config, now_s))
        self._buckets.move_to_end(key)
        wait_ms = bucket.take(now_s)
        while len(self) > self._keys_max or now_s - next(iter(self._buckets.values())).at_s >= self._fill_s:
            self._buckets.popitem(last=False)
        return wait_ms


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

    def receive(self, message: ClientMessage, now_s: float) -> Say | Refused | ClientMessage:
        """What becomes of a message. Raises ProtocolError for a message out of place and for flooding."""
        rule = message.rule
        if rule.state is not self.state:
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

    def _out_of_place(self, message: ClientMessage) -> str:
        if isinstance(message, Hello):
            return "hello may be sent once"
        if self.state is State.NEW:
            return "the first message must be hello"
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
