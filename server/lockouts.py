"""How often a name, and an address, may be tried with a wrong password.

    name      `failures_max` wrong passwords lock it for `lock_s`, whether anybody is called so or not
    address   wrong passwords are paid from a bucket of each address, so that nobody tries one password on all names

A try counts before its password is looked at: of a thousand that come at once so many are looked at as may be wrong, and no more.
What turns out right, or is not looked at in the end, is taken back. A lock is for `account_login` and what else asks for the
password of a name; who is signed in is not touched, nor is `account_refresh`.

The time is an argument, and what is remembered is bounded: of more than `names_max` names the one tried longest ago is forgotten.
Nothing is told to the disk, so a restart forgets the failures of before it; other servers on the same Redis are told (neighbours.py).
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from protocol.errors import Refusal, RefusalCode
from server.config import RateConfig
from server.session import Buckets

NAMES_MAX = 100_000  # some 30 MB, if all are tried
ADDRESSES_MAX = 100_000
IN_FLIGHT_RETRY_MS = 1_000  # as many tries of a name go on as may be wrong; they are over by then


@dataclass(slots=True)
class Tried:
    """What is known of a name."""

    failures: int = 0
    in_flight: int = 0
    until_s: float = 0.0  # failures are forgotten then, and a lock is over


class Lockouts:
    """Counts tries. Each `begin` that does not raise is followed by one of `failed`, `succeeded` and `dropped`."""

    def __init__(
        self, failures_max: int, lock_s: float, per_address: RateConfig, names_max: int = NAMES_MAX
    ) -> None:
        self.locked_total = 0
        self.tell: Callable[[str], None] = (
            _nobody  # other servers that a name was tried with a wrong password
        )
        self._failures_max = failures_max
        self._lock_s = lock_s
        self._names_max = names_max
        self._names: OrderedDict[str, Tried] = OrderedDict()  # the one tried longest ago stands first
        self.addresses = Buckets(per_address, ADDRESSES_MAX)

    def __len__(self) -> int:
        """Names that are remembered."""
        return len(self._names)

    def begin(self, name: str, address: str, now_s: float) -> None:
        """Counts a try. Raises Refusal: LOCKED or RATE_LIMITED, with the time to wait."""
        tried = self._names.get(name) or Tried()
        if tried.failures and tried.until_s <= now_s:
            tried.failures = 0
        if tried.failures >= self._failures_max:
            text = "Too many wrong passwords for this name; wait, or set another password by e-mail."
            raise Refusal(RefusalCode.LOCKED, text, max(1, round((tried.until_s - now_s) * 1_000)))
        if tried.failures + tried.in_flight >= self._failures_max:
            text = "This name is being tried just now; try again in a moment."
            raise Refusal(RefusalCode.RATE_LIMITED, text, IN_FLIGHT_RETRY_MS)
        wait_ms = self.addresses.take(address, now_s)
        if wait_ms:
            text = "Too many wrong passwords from your address; wait a moment."
            raise Refusal(RefusalCode.RATE_LIMITED, text, wait_ms)
        tried.in_flight += 1
        self._names[name] = tried
        self._names.move_to_end(name)
        self._bound()

    def failed(self, name: str, now_s: float) -> None:
        """The password was wrong."""
        tried = self._over(name)
        if tried is not None:
            self._count(tried, now_s)
            self.tell(name)

    def succeeded(self, name: str, address: str) -> None:
        """It was right: what went wrong before is forgotten."""
        tried = self._over(name)
        if tried is not None:
            tried.failures = 0
            self._forget(name, tried)
        self.addresses.give_back(address)

    def dropped(self, name: str, address: str) -> None:
        """Nobody looked at it."""
        tried = self._over(name)
        if tried is not None and not tried.failures:
            self._forget(name, tried)
        self.addresses.give_back(address)

    def hear(self, name: str, at_s: float, now_s: float) -> None:
        """A password was wrong elsewhere.

        What was right is not told: whoever has the name there may be another person, who would clear what they try here.
        """
        if at_s + self._lock_s > now_s:
            tried = self._names.setdefault(name, Tried())
            if tried.failures and tried.until_s <= now_s:
                tried.failures = 0
            self._count(tried, max(at_s, tried.until_s - self._lock_s))
            self._bound()

    def forgive(self, name: str) -> None:
        """Somebody showed in another way who they are: what went wrong before is forgotten."""
        tried = self._names.get(name)
        if tried is not None:
            tried.failures = 0
            self._forget(name, tried)

    def _count(self, tried: Tried, at_s: float) -> None:
        tried.failures += 1
        tried.until_s = at_s + self._lock_s
        self.locked_total += tried.failures == self._failures_max

    def _bound(self) -> None:
        while len(self._names) > self._names_max:
            self._names.popitem(last=False)

    def _over(self, name: str) -> Tried | None:
        """A try ends; None if so much was tried since that the name is forgotten."""
        tried = self._names.get(name)
        if tried is not None and tried.in_flight:
            tried.in_flight -= 1
        return tried

    def _forget(self, name: str, tried: Tried) -> None:
        if not tried.in_flight:
            del self._names[name]


def _nobody(_: str) -> None:
    """There is no other server."""
