"""What one connection may do, asked of the pure session. The rows are made from the message table: a new message is covered."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import spec
from protocol.errors import CloseCode, ProtocolError, RefusalCode
from protocol.messages import (
    CLIENT_MESSAGES,
    PLAYING,
    ChatChannel,
    ChatSay,
    ClientMessage,
    Hello,
    Move,
    Ping,
    Rate,
    Refused,
    Role,
    Rule,
    State,
    name_of,
)
from server.config import LimitsConfig, RateConfig, RatesConfig
from server.session import ROLES, Bucket, Buckets, Debts, Session
from world.commands import Say

PLAYER = 7
ROWS = {row["name"]: row for row in spec.describe()["messages"] if row["direction"] == "client"}
WELL_OVER_MS = 1e-6


def example(message: type[ClientMessage]) -> ClientMessage:
    """A message of this class with the least in it."""
    plain = {"int": 0, "float": 0.0, "str": "a", "bool": False, "enum": ChatChannel.WORLD, "bin": b""}
    wanted = [field for field in ROWS[name_of(message)]["fields"] if not field.get("optional")]
    return message(**{field["name"]: plain[field["type"]] for field in wanted})


def session_in(state: State, limits: LimitsConfig | None = None, role: Role = Role.USER) -> Session:
    session = Session(limits or LimitsConfig())
    if state is not State.NEW:
        session.joining()
    if state is State.PLAYING:
        session.playing(PLAYER, role)
    return session


# --- states and roles --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("message", "state"), list(itertools.product(CLIENT_MESSAGES, State)))
def test_each_message_is_taken_in_its_own_state_and_closes_1008_in_every_other(
    message: type[ClientMessage], state: State
) -> None:
    session = session_in(state, role=message.rule.role)
    if state in message.rule.states:
        assert not isinstance(session.receive(example(message), 0.0), Refused)
        return
    with pytest.raises(ProtocolError) as closed:
        session.receive(example(message), 0.0)
    assert closed.value.code is CloseCode.POLICY_VIOLATION
    assert closed.value.reason


def test_a_message_out_of_place_says_what_was_expected() -> None:
    said = {}
    for state, message in (
        (State.NEW, Ping(1)),
        (State.JOINING, Ping(1)),
        (State.PLAYING, Hello(1, "tests")),
    ):
        with pytest.raises(ProtocolError) as closed:
            session_in(state).receive(message, 0.0)
        said[state] = closed.value.reason
    assert "first message must be hello" in said[State.NEW]
    assert "wait for welcome" in said[State.JOINING]
    assert "once" in said[State.PLAYING]


@pytest.mark.parametrize(("least", "role"), list(itertools.product(Role, Role)))
def test_a_role_may_do_what_those_below_it_may(
    least: Role, role: Role, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ping, "rule", Rule(PLAYING, Rate.PING, least))
    outcome = session_in(State.PLAYING, role=role).receive(Ping(1), 0.0)
    if ROLES.index(role) >= ROLES.index(least):
        assert outcome == Ping(1)
    else:
        assert isinstance(outcome, Refused)
        assert outcome.code is RefusalCode.NOT_ALLOWED
        assert least.value in outcome.message


def test_inputs_and_talk_become_commands_of_this_player() -> None:
    session = session_in(State.PLAYING)
    assert session.receive(Move(3, 0.5, -1.0), 0.0) == Move(3, 0.5, -1.0)
    session.number = 5
    said = session.receive(ChatSay(9, ChatChannel.DIRECT, "hello", 12), 0.0)
    assert said == Say(PLAYER, 9, ChatChannel.DIRECT, "hello", 12, session=5)


# --- rates -------------------------------------------------------------------------------------------------


def test_a_bucket_gives_its_burst_at_once_then_says_how_long_to_wait() -> None:
    bucket = Bucket(RateConfig(per_s=4, burst=3), 10.0)
    assert [bucket.take(10.0) for _ in range(4)] == [0, 0, 0, 250]
    assert bucket.take(10.1) == 150
    assert bucket.take(10.25) == 0
    assert bucket.take(10.25) == 250


def test_a_bucket_never_holds_more_than_its_burst() -> None:
    bucket = Bucket(RateConfig(per_s=100, burst=3), 0.0)
    assert [bucket.take(1e9) for _ in range(4)] == [0, 0, 0, 10]


@given(
    st.floats(0.01, 1_000),
    st.integers(1, 100),
    st.lists(st.floats(0, 5), min_size=1, max_size=200),
)
def test_no_stretch_of_time_gets_more_than_its_share(per_s: float, burst: int, pauses: list[float]) -> None:
    bucket, now, taken_at = Bucket(RateConfig(per_s=per_s, burst=burst), 0.0), 0.0, []
    for pause in pauses:
        now += pause
        if bucket.take(now) == 0:
            taken_at.append(now)
    for index, start in enumerate(taken_at):
        assert len(taken_at) - index <= burst + (taken_at[-1] - start) * per_s + WELL_OVER_MS


@given(st.floats(0.01, 1_000), st.integers(1, 20), st.floats(0, 100))
def test_who_waits_as_told_is_served(per_s: float, burst: int, began: float) -> None:
    bucket = Bucket(RateConfig(per_s=per_s, burst=burst), began)
    for _ in range(burst):
        assert bucket.take(began) == 0
    wait_ms = bucket.take(began)
    assert wait_ms >= 1
    # Told in whole milliseconds: at worst one half too few.
    assert bucket.take(began + (wait_ms + 1) / 1000) == 0


@pytest.mark.parametrize("message", [row for row in CLIENT_MESSAGES if State.PLAYING in row.rule.states])
def test_over_its_rate_each_message_is_refused_with_the_time_to_wait(message: type[ClientMessage]) -> None:
    limits = LimitsConfig()
    rate: RateConfig = getattr(limits.rates, message.rule.rate.value)
    session = session_in(State.PLAYING, role=message.rule.role)
    for _ in range(rate.burst):
        assert not isinstance(session.receive(example(message), 5.0), Refused)
    refused = session.receive(example(message), 5.0)
    assert isinstance(refused, Refused)
    assert refused.code is RefusalCode.RATE_LIMITED
    assert refused.request_id == getattr(example(message), "request_id", 0)
    assert refused.retry_after_ms is not None
    later = 5.0 + (refused.retry_after_ms + 1) / 1000
    assert not isinstance(session.receive(example(message), later), Refused)


def test_each_class_of_messages_is_paid_from_a_bucket_of_its_own() -> None:
    session = session_in(State.PLAYING)
    while not isinstance(session.receive(Move(1, 0.0, 0.0), 0.0), Refused):
        pass
    assert session.receive(Ping(1), 0.0) == Ping(1)


class Forbidden(ClientMessage, tag=63):
    """What only admins may send; there is none such yet."""

    rule = Rule(PLAYING, Rate.REQUEST, Role.ADMIN)


def test_what_the_role_forbids_is_paid_for_too() -> None:
    """Guard: Session.receive asks the rate before the role; who may not do it could else ask without end."""
    session = session_in(State.PLAYING, role=Role.GUEST)
    burst = LimitsConfig().rates.request.burst
    codes = [session.receive(Forbidden(), 0.0) for _ in range(burst + 1)]
    assert [one.code for one in codes if isinstance(one, Refused)] == [
        *[RefusalCode.NOT_ALLOWED] * burst,
        RefusalCode.RATE_LIMITED,
    ]


def test_each_key_has_a_bucket_of_its_own_and_none_is_kept_that_is_full_again() -> None:
    """Guard: Buckets.take forgets; one entry for every address that ever came would be a way to fill the memory."""
    buckets = Buckets(RateConfig(per_s=2, burst=4), keys_max=10)
    assert [buckets.take("a", 0.0) for _ in range(5)] == [0, 0, 0, 0, 500]
    assert buckets.take("b", 1.0) == 0
    assert len(buckets) == 2
    assert buckets.take("b", 2.5) == 0
    assert len(buckets) == 1
    assert [buckets.take("a", 2.5) for _ in range(5)] == [0, 0, 0, 0, 500]


def test_of_too_many_buckets_the_one_asked_longest_ago_is_forgotten() -> None:
    buckets = Buckets(RateConfig(per_s=0.001, burst=1), keys_max=2)
    for key in ("a", "b", "a", "c"):
        buckets.take(key, 0.0)
    assert len(buckets) == 2
    assert buckets.take("a", 0.0) > 0
    assert buckets.take("b", 0.0) == 0


def test_what_is_owed_is_made_up_for_and_never_more_than_a_burst() -> None:
    bucket = Bucket(RateConfig(per_s=2, burst=4), 0.0)
    assert [bucket.take(0.0) for _ in range(3)] == [0, 0, 0]
    assert bucket.missing(0.5) == 2
    bucket.charge(3, 0.5)
    assert bucket.take(0.5) == 1_000
    bucket.charge(100, 0.5)
    assert bucket.missing(0.5) == 8
    assert bucket.take(3.0) == 0


@pytest.mark.parametrize("rate", [Rate(name) for name in RatesConfig.model_fields])
def test_to_come_back_refills_nothing(rate: Rate) -> None:
    """Guards: Session.spent and Session.charge of every class, Debts between them."""
    settings = LimitsConfig(rates=RatesConfig.model_validate({rate.value: {"per_s": 1, "burst": 4}}))
    first, debts = session_in(State.PLAYING, settings), Debts(settings.rates, 10)
    while not first.pay(rate, 5.0):
        pass
    debts.put(PLAYER, first.spent(5.0), 5.0)
    second = session_in(State.PLAYING, settings)
    second.charge(debts.take(PLAYER, 7.0), 7.0)
    assert [second.pay(rate, 7.0) for _ in range(3)] == [0, 0, 1_000]
    assert debts.take(PLAYER, 7.0) == {}


def test_debts_are_forgotten_once_they_are_made_up_for_and_of_too_many_the_oldest() -> None:
    """Guard: Debts.put forgets; one entry for everybody who ever left would be a way to fill the memory."""
    rates = RatesConfig.model_validate({name: {"per_s": 1, "burst": 5} for name in RatesConfig.model_fields})
    debts = Debts(rates, players_max=3)
    for player_id in range(5):
        debts.put(player_id, {"chat": 5.0}, float(player_id))
    assert len(debts) == 3
    assert debts.take(0, 4.0) == {}
    debts.put(9, {"chat": 5.0}, 13.0)
    assert len(debts) == 2
    assert debts.take(4, 13.0) == {}
    debts.put(9, {}, 14.0)
    assert debts.take(9, 15.0) == {"chat": 3.0}


# --- floods ------------------------------------------------------------------------------------------------


def limits(refusals_max: int, window_s: float) -> LimitsConfig:
    settings: dict[str, Any] = {
        "flood_refusals_max": refusals_max,
        "flood_window_s": window_s,
        "rates": {"ping": {"per_s": 0.001, "burst": 1}},
    }
    return LimitsConfig.model_validate(settings)


def test_who_goes_on_against_refusals_is_flooding() -> None:
    session = session_in(State.PLAYING, limits(5, 10.0))
    session.receive(Ping(1), 0.0)
    for number in range(4):
        assert isinstance(session.receive(Ping(1), number * 2.0), Refused)
    with pytest.raises(ProtocolError) as closed:
        session.receive(Ping(1), 9.9)
    assert closed.value.code is CloseCode.FLOODING


def test_refusals_of_long_ago_do_not_count() -> None:
    session = session_in(State.PLAYING, limits(5, 10.0))
    session.receive(Ping(1), 0.0)
    for number in range(50):
        assert isinstance(session.receive(Ping(1), number * 2.5), Refused)


def test_ping_frames_are_paid_like_pings() -> None:
    """Guard: Connection hands control frames to `Session.pay`; they are not free because they are small."""
    session = session_in(State.NEW, limits(5, 10.0))
    assert session.pay(Rate.PING, 0.0) == 0
    for _ in range(4):
        assert session.pay(Rate.PING, 0.0) > 0
    with pytest.raises(ProtocolError) as closed:
        session.pay(Rate.PING, 0.0)
    assert closed.value.code is CloseCode.FLOODING


RATES = [Rate(name) for name in RatesConfig.model_fields]


@pytest.mark.parametrize("rate", RATES)
def test_each_rate_is_the_one_of_its_name_in_the_settings(rate: Rate) -> None:
    tight = RatesConfig.model_validate({rate.value: {"per_s": 0.5, "burst": 1}})
    session = session_in(State.PLAYING, LimitsConfig(rates=tight))
    assert [session.pay(rate, 0.0) for _ in range(2)] == [0, 2_000]
    assert all(
        session.pay(other, 0.0) == session.pay(other, 0.0) == 0 for other in RATES if other is not rate
    )
