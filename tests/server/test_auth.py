"""Tokens and tickets: only what this server signed, for this purpose, in time; and the key they are signed with."""

import base64
import json
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import jwt
import pytest

from protocol.messages import NAME_CHARS_MAX, TOKEN_CHARS_MAX, Role
from server.auth import (
    ALGORITHM,
    ISSUER,
    KEY_BYTES,
    KEY_FILE,
    BadToken,
    Identity,
    Signer,
    check_name,
    load_key,
)
from server.config import SIGNING_KEY_BYTES_MIN

KEY = b"k" * 32
THEIRS = b"t" * 32
NOW_S = 4_000_000_000.0  # in 2096: tokens of the tests do not run out while they run
SIGNER = Signer(KEY)
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
    assert SIGNER.read_access(SIGNER.access("Ada", NOW_S, 1)) == ("Ada", Role.USER)
    assert SIGNER.read_access(SIGNER.access("Root", NOW_S, 1, Role.ADMIN)) == ("Root", Role.ADMIN)
    assert SIGNER.read_access(signed()) == ("Ada", Role.USER)


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


def test_the_longest_name_makes_a_token_and_a_ticket_that_fit_the_wire() -> None:
    name = "\U0001f333" * NAME_CHARS_MAX
    assert len(SIGNER.access(name, NOW_S, 1)) <= TOKEN_CHARS_MAX
    assert len(SIGNER.resume(Identity(f"name:{name}", name, None), NOW_S, 1)) <= TOKEN_CHARS_MAX


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
    "name", ["", " ", "a ", " a", "a\x00b", "a\u202eb", "a\ud800", "tab\there", "a" * (NAME_CHARS_MAX + 1)]
)
def test_nobody_is_called_so(name: str) -> None:
    with pytest.raises(ValueError, match="a name has"):
        SIGNER.access(name, NOW_S, 1)


def test_names_are_kept_in_composed_form() -> None:
    assert check_name("Ame\u0301lie") == "Am\u00e9lie"


# --- the key -----------------------------------------------------------------------------------------------


def test_the_key_is_made_once_and_is_for_its_owner_only(tmp_path: Path) -> None:
    data = tmp_path / "not" / "there"
    key = load_key(data, None)
    assert len(key) == KEY_BYTES
    assert stat.S_IMODE((data / KEY_FILE).stat().st_mode) == 0o600
    assert load_key(data, None) == key
    assert [path.name for path in data.iterdir()] == [KEY_FILE]  # nothing half-made is left


def test_a_key_that_is_given_is_taken_and_nothing_is_written(tmp_path: Path) -> None:
    assert load_key(tmp_path, "g" * 32) == b"g" * 32
    assert not list(tmp_path.iterdir())


def test_processes_that_start_at_once_agree_on_one_key(tmp_path: Path) -> None:
    """Guard: os.link in load_key, which never replaces a key that somebody else made meanwhile."""
    program = (
        "import sys; from pathlib import Path; from server.auth import load_key;"
        "sys.stdin.read(); print(load_key(Path(sys.argv[1]), None).hex())"
    )
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", program, tmp_path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for racer in racers:  # all have imported what they need; the end of their input is the start
        assert racer.stdin is not None
        racer.stdin.close()
        racer.stdin = None
    keys = [racer.communicate()[0] for racer in racers]
    assert len(set(keys)) == 1
    assert keys[0].strip() == (tmp_path / KEY_FILE).read_bytes().hex()


def test_a_key_made_meanwhile_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The race above, made certain: another process makes the key between our look and our link."""
    looks = iter([FileNotFoundError(), None])
    real = Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        trouble = next(looks)
        if trouble:
            path.write_bytes(THEIRS)
            raise trouble
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    assert load_key(tmp_path, None) == THEIRS
    assert [path.name for path in tmp_path.iterdir()] == [KEY_FILE]


@pytest.mark.parametrize("size", [0, SIGNING_KEY_BYTES_MIN - 1])
def test_a_key_file_that_is_cut_short_is_named_at_the_start(tmp_path: Path, size: int) -> None:
    """Guard: _read_key. PyJWT refuses to sign with an empty key, which would be in the tick that welcomes the first player."""
    (tmp_path / KEY_FILE).write_bytes(bytes(size))
    with pytest.raises(OSError, match=f"{KEY_FILE} holds {size} bytes"):
        load_key(tmp_path, None)
