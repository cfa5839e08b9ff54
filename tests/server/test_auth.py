"""Tokens and tickets: only what this server signed, for this purpose, in time, with a key of its ring that has not retired."""

import base64
import json
from typing import Any
from uuid import UUID

import jwt
import pytest

from persistence.keyring import RIPE_MS, Key, Ring
from persistence.store import account_key
from protocol.messages import NAME_CHARS_MAX, TOKEN_CHARS_MAX, Role
from server.auth import (
    ALGORITHM,
    ISSUER,
    BadToken,
    Identity,
    Signer,
    check_name,
)

KEY = b"k" * 32
THEIRS = b"t" * 32
OLD, NEW = Key(b"o" * 32, 1), Key(b"n" * 32, 2)
NOW_S = 4_000_000_000  # in 2096: tokens of the tests do not run out while they run
SIGNER = Signer(Ring.of(KEY))
ADA = Identity("name:ada", "Ada", None)
GOOD = {"sub": "Ada", "role": "user", "iss": ISSUER, "aud": "access", "typ": "access", "iat": 1, "exp": NOW_S}


def signed(key: bytes = KEY, algorithm: str = ALGORITHM, **changes: Any) -> str:
    """A token that is good but for the changes; None leaves a claim out."""
    claims = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    return jwt.encode(claims, key, algorithm)


def unsigned() -> str:
    """`alg: none`, which some libraries once took."""

    def part(content: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(GOOD)}."


def test_a_token_says_who_its_bearer_is() -> None:
    assert SIGNER.read_access(SIGNER.access("Ada", NOW_S, 1)) == Identity("name:ada", "Ada", Role.USER)
    assert SIGNER.read_access(SIGNER.access("Root", NOW_S, 1, Role.ADMIN)) == Identity(
        "name:root", "Root", Role.ADMIN
    )
    assert SIGNER.read_access(signed()) == Identity("name:ada", "Ada", Role.USER)


def test_a_ticket_says_who_goes_on() -> None:
    assert SIGNER.read_resume(SIGNER.resume(ADA, NOW_S, 30)) == ADA


def test_a_ticket_gives_nobody_a_role() -> None:
    """A ticket is good for a month and renewed by every welcome; a role in it would outlive the token it came from."""
    ticket = SIGNER.resume(Identity("name:ada", "Ada", Role.ADMIN), NOW_S, 30)
    assert "role" not in jwt.decode(ticket, options={"verify_signature": False})
    old = signed(sub="name:ada", name="Ada", role="admin", aud="resume", typ="resume")
    assert SIGNER.read_resume(old).role is None


def test_a_ticket_outlives_a_clock_that_is_set_back() -> None:
    """Guard: verify_iat is off. NOW_S is long after the clock by which it is read here."""
    assert SIGNER.read_resume(SIGNER.resume(ADA, NOW_S + 60, 30)) == ADA


@pytest.mark.parametrize("letter", ["\U0001f333", "\xdf", "\U0001d400"])
def test_the_longest_name_makes_a_token_and_a_ticket_that_fit_the_wire(letter: str) -> None:
    name = check_name(letter * NAME_CHARS_MAX)
    identity = Identity(account_key(name), name, None, UUID(int=2**128 - 1))
    assert len(SIGNER.access(name, NOW_S, 1)) <= TOKEN_CHARS_MAX
    assert len(SIGNER.resume(identity, NOW_S, 1)) <= TOKEN_CHARS_MAX


def test_nobody_has_a_name_whose_key_would_not_fit_into_a_ticket() -> None:
    """Guard: FOLDED_CHARS_MAX. The ticket is written while a tick is told; what could not be written would end the server."""
    with pytest.raises(ValueError, match="stand for too many"):
        check_name("\ufdfa" * NAME_CHARS_MAX)


TAMPERED = SIGNER.access("Ada", NOW_S, 1)
BAD_TOKENS = {
    "empty": "",
    "no token at all": "hello",
    "other key": signed(key=b"x" * 32),
    "alg none": unsigned(),
    "other algorithm of the same key": signed(algorithm="HS512", key=KEY * 2),
    "other signature": TAMPERED[:-4] + ("AAAA" if TAMPERED[-4:] != "AAAA" else "BBBB"),
    "run out": signed(exp=1_000_000_000),
    "no end": signed(exp=None),
    "no beginning": signed(iat=None),
    "nobody": signed(sub=None),
    "a number as name": signed(sub=5),
    "other issuer": signed(iss="elsewhere"),
    "other audience": signed(aud="resume"),
    "other typ": signed(typ="resume"),
    "no typ": signed(typ=None),
    "a ticket": SIGNER.resume(ADA, NOW_S, 1),
    "unknown role": signed(role="emperor"),
    "no role": signed(role=None),
    "empty name": signed(sub=""),
    "a name too long": signed(sub="a" * (NAME_CHARS_MAX + 1)),
    "control characters in the name": signed(sub="a\nb"),
    "not ASCII": "é" * 50,
    "a megabyte": "a" * 1_000_000,
    "a megabyte with dots": ".".join(["a" * 333_333] * 3),
    "a megabyte, well signed": signed(padding="x" * 700_000, aud="resume"),
}


@pytest.mark.parametrize("token", BAD_TOKENS.values(), ids=BAD_TOKENS)
def test_bad_tokens_are_refused_with_advice(token: str) -> None:
    with pytest.raises(BadToken) as refused:
        SIGNER.read_access(token)
    assert str(refused.value).endswith(".")


@pytest.mark.parametrize("changes", [{"name": None}, {"sub": None}, {"typ": "access"}, {"aud": "access"}])
def test_bad_tickets_are_refused(changes: dict[str, Any]) -> None:
    good: dict[str, Any] = {"sub": "name:ada", "name": "Ada", "aud": "resume", "typ": "resume"}
    assert SIGNER.read_resume(signed(KEY, **good)) == ADA
    with pytest.raises(BadToken):
        SIGNER.read_resume(signed(KEY, **{**good, **changes}))


def test_an_access_token_is_no_ticket() -> None:
    with pytest.raises(BadToken):
        SIGNER.read_resume(SIGNER.access("Ada", NOW_S, 1))


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", "a ", " a", "a\x00b", "a\u202eb", "a\ud800", "tab\there", "a" * (NAME_CHARS_MAX + 1)),
        *(
            "Ada  Byron",
            "Ada\ufe0f",
            "Ada\u034f",
            "Ada\u200d",
            "\u3164",
            "\u2800",
            "\u115f",
            "\u0301",
            "a" + "\u0316" * 5,
        ),
        *("#8", "--", "Bel\u0430", "\u0391da"),
    ],
)
def test_nobody_is_called_so(name: str) -> None:
    with pytest.raises(ValueError, match="a name has"):
        SIGNER.access(name, NOW_S, 1)


@pytest.mark.parametrize(
    "name", ["Ada", "Ада", "আদা", "艾达 7", "Ada 艾", "O'Neill-3", "🌳", "№ 5", "Ñandú", "Adaß"]
)
def test_people_may_be_called_so(name: str) -> None:
    assert check_name(name) == name


def test_names_are_kept_in_composed_form() -> None:
    assert check_name("Ame\u0301lie") == "Am\u00e9lie"


# --- the ring ----------------------------------------------------------------------------------------------


def test_the_newest_key_signs_and_older_ones_are_believed_until_they_retire() -> None:
    """Guard: `is_retired` in Signer._check."""
    before = Signer(Ring((OLD,))).access("Ada", NOW_S, 1)
    signer = Signer(Ring((OLD, NEW)))
    after = signer.access("Ada", NOW_S, 1)
    assert jwt.get_unverified_header(after) == {"alg": "HS256", "typ": "JWT", "kid": NEW.id}
    assert signer.read_access(before) == signer.read_access(after) == Identity("name:ada", "Ada", Role.USER)
    signer.ring = Ring((Key(OLD.secret, 1, retires_at_ms=3), NEW))
    assert signer.read_access(after) == Identity("name:ada", "Ada", Role.USER)
    with pytest.raises(BadToken):
        signer.read_access(before)
    signer.ring = Ring((NEW,))
    with pytest.raises(BadToken):
        signer.read_access(before)


def test_tokens_that_name_no_key_are_those_of_before_there_were_rings() -> None:
    """Guard: `made_at_ms` in Signer.ring: where the first key knows of ids, a token without one is none of ours."""
    nameless = signed(OLD.secret)
    assert Signer(Ring((Key(OLD.secret), NEW))).read_access(nameless) == Identity(
        "name:ada", "Ada", Role.USER
    )
    for ring in (Ring((OLD, NEW)), Ring((Key(NEW.secret), OLD))):
        with pytest.raises(BadToken):
            Signer(ring).read_access(nameless)


def test_a_new_key_signs_when_all_who_look_know_it() -> None:
    made_at_ms = NOW_S * 1_000
    signer = Signer(Ring((OLD, Key(NEW.secret, made_at_ms))))

    def signed_with(after_ms: int) -> str:
        token = signer.access("Ada", (made_at_ms + after_ms) / 1_000, 1)
        return str(jwt.get_unverified_header(token)["kid"])

    assert signed_with(RIPE_MS - 1_000) == OLD.id
    assert signed_with(RIPE_MS) == NEW.id


def test_one_signature_is_written_in_one_way() -> None:
    """Guard: SHAPE. What only looks different would pass beside a list of tokens that are revoked."""
    token = signed()
    last = "AEIMQUYcgkosw048".index(token[-1])
    twins = [token[:-1] + "ABCD"[1], token + "=", token + "\n", token.replace(".", ".!", 1), token[:-1] + "-"]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    twins.append(token[:-1] + alphabet[last * 4 + 1])  # the same 32 bytes to a lenient reader
    for twin in twins:
        with pytest.raises(BadToken):
            SIGNER.read_access(twin)
