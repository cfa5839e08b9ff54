"""Lockouts of two servers that tell each other; what one does by itself is in tests/integration/test_accounts.py."""

from protocol.errors import Refusal, RefusalCode
from server.config import RateConfig
from server.lockouts import Lockouts

WIDE = RateConfig(per_s=1_000, burst=1_000)
LOCK_S = 900.0


def pair() -> tuple[Lockouts, Lockouts]:
    """Two that hear each other at once, at the time 100."""
    one, other = (Lockouts(3, LOCK_S, WIDE, names_max=4) for _ in range(2))
    one.tell = lambda name: other.hear(name, 100.0, 100.0)
    other.tell = lambda name: one.hear(name, 100.0, 100.0)
    return one, other


def fail(one: Lockouts, name: str = "ann", now_s: float = 100.0) -> RefusalCode | None:
    """A wrong password; why it was not even looked at, if so."""
    try:
        one.begin(name, "address", now_s)
    except Refusal as refusal:
        return refusal.code
    one.failed(name, now_s)
    return None


def test_failures_count_wherever_they_were() -> None:
    """Guard: Lockouts.hear."""
    one, other = pair()
    assert [fail(one), fail(other), fail(one)] == [None] * 3
    assert fail(other) is RefusalCode.LOCKED
    assert fail(one) is RefusalCode.LOCKED
    assert fail(other, "bob") is None
    assert fail(other, now_s=100.0 + LOCK_S) is None


def test_a_right_password_elsewhere_clears_nothing_here() -> None:
    """Guard: only wrong ones are told. Who has the name on the other server may be another, and would clear what they try here."""
    one, other = pair()
    for way in ("succeeded", "forgive"):
        fail(one, way)
        fail(one, way)
        other.begin(way, "address", 100.0)
        other.succeeded(way, "address")
        other.forgive(way)
        assert fail(other, way) is None  # forgiven where it was right
        assert fail(one, way) is RefusalCode.LOCKED


def test_a_right_password_forgives_what_was_wrong_before() -> None:
    """Guards: `tried.failures = 0` in `succeeded` and in `forgive`."""
    one = Lockouts(3, LOCK_S, WIDE)
    for _ in range(2):
        assert [fail(one), fail(one)] == [None, None]
        one.begin("ann", "address", 100.0)
        one.succeeded("ann", "address")
    assert [fail(one), fail(one)] == [None, None]
    one.forgive("ann")
    assert [fail(one), fail(one)] == [None, None]


def test_what_is_heard_late_counts_from_when_it_was_and_is_bounded() -> None:
    """Guards: the age in Lockouts.hear, and Lockouts._bound."""
    one = Lockouts(3, LOCK_S, WIDE, names_max=4)
    one.hear("ann", 100.0, 100.0 + LOCK_S)
    assert len(one) == 0
    for _ in range(3):
        one.hear("ann", 100.0, 500.0)
    assert fail(one, now_s=99.0 + LOCK_S) is RefusalCode.LOCKED
    assert fail(one, now_s=100.0 + LOCK_S) is None
    for number in range(10):
        one.hear(str(number), 500.0, 500.0)
    assert len(one) == 4
