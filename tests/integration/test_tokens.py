"""Forged and stale tokens over the real socket: each is refused, and the server goes on.

A row is a way to get in that must not work: how the token is made. Those that are "ours" are signed with a key of the server, as if one
of its own tokens were wrong in one thing only: nobody can make them, and they are refused all the same.
"""

import base64
import hashlib
import hmac
import json
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import msgpack
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from persistence.keyring import Key, Ring, read_ring, replace_ring
from protocol.errors import CloseCode, RefusalCode
from protocol.messages import (
    NAME_CHARS_MAX,
    PROTOCOL_VERSION,
    TOKEN_CHARS_MAX,
    AccountLogin,
    AccountLogout,
    AccountRefresh,
    AccountRegister,
    ClientMessage,
    Hello,
    Ok,
    Refused,
    ServerMessage,
    Welcome,
    code_of,
)
from server.auth import ALGORITHM, ISSUER
from server.keys import SEALING_FILE, SIGNING_FILE
from tests.harness import Client, ServerProcess, serving

RETIRED, OLDER = Key(b"r" * 32, 1, retires_at_ms=2), Key(b"o" * 32, 2)
CURRENT = Key(b"c" * 32, 3)
FORGED = b"f" * 32
RSA = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
EC = ec.generate_private_key(ec.SECP256R1())
RSA_PUBLIC = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
NOW_S = int(time.time())
HOUR_S = 3_600
PASSWORD = "seven horses on a roof"
WAYS_MIN = 40


@dataclass
class Scene:
    """What a forger may have got hold of."""

    access: str  # of an account
    refresh: str
    ended_access: str  # of a session that has ended
    ended_refresh: str
    ended_ticket: str
    ticket: str  # of a guest
    offline: str  # by `landworld token`
    sealing: Key  # a key of the server that is for something else


Make = Callable[[Scene], str]


# --- making tokens -----------------------------------------------------------------------------------------


def part(content: object) -> str:
    packed = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(packed).rstrip(b"=").decode()


def claims(kind: str = "access", **changes: Any) -> dict[str, Any]:
    """Those of a good token, but for the changes; `...` leaves a claim out."""
    own: dict[str, dict[str, Any]] = {
        "access": {"sub": "Ada", "role": "admin"},
        "resume": {"sub": "name:ada", "name": "Ada"},
        "refresh": {"sub": "1", "sid": uuid.UUID(int=1).hex, "gen": 1},
    }
    stamps = {"iss": ISSUER, "aud": kind, "typ": kind, "iat": NOW_S, "exp": NOW_S + HOUR_S}
    return {name: value for name, value in {**own[kind], **stamps, **changes}.items() if value is not ...}


def token(header: dict[str, Any], secret: bytes = FORGED, body: object = None) -> str:
    """Signed with HMAC-SHA-256, whatever the header says."""
    head = json.dumps(header, separators=(",", ":"), sort_keys=True).encode()
    signing = f"{part(head)}.{part(claims() if body is None else body)}"
    return f"{signing}.{part(hmac.digest(secret, signing.encode(), hashlib.sha256))}"


def header(**changes: Any) -> dict[str, Any]:
    good = {"alg": ALGORITHM, "typ": "JWT", "kid": CURRENT.id}
    return {name: value for name, value in {**good, **changes}.items() if value is not ...}


def ours(kind: str = "access", **changes: Any) -> Make:
    """Signed as the server signs, wrong in its claims only."""
    return lambda _: token(header(), CURRENT.secret, claims(kind, **changes))


def made(text: str) -> Make:
    return lambda _: text


def headed(secret: bytes = FORGED, **changes: Any) -> Make:
    return made(token(header(**changes), secret))


def unsigned(alg: object) -> Make:
    return made(f"{part(header(alg=alg))}.{part(claims())}.")


def changed(change: Callable[[str], str]) -> Make:
    """A good token, but for its text."""
    return lambda scene: change(scene.offline)


def parts_of(text: str) -> list[str]:
    return text.split(".")


def twin(text: str) -> str:
    """Another last letter for the same 32 bytes, which a lenient reader takes for the same signature."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return text[:-1] + alphabet[alphabet.index(text[-1]) + 1]


def claims_of(text: str) -> dict[str, Any]:
    body = parts_of(text)[1]
    told: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return told


def with_claim(text: str, **changes: Any) -> str:
    """The signature of a good token under other claims."""
    head, _, signature = parts_of(text)
    return f"{head}.{part({**claims_of(text), **changes})}.{signature}"


TWICE = json.dumps(header()).encode()[:-1] + b', "kid": "0123456789abcdef"}'


def regen(**changes: Any) -> Make:
    """A refresh token of a session that goes on, signed as the server signs it, with other claims."""

    def make(scene: Scene) -> str:
        told = {**claims_of(scene.refresh), **changes}
        kept = {name: value for name, value in told.items() if value is not ...}
        return token(header(), CURRENT.secret, kept)

    return make


# --- the table ---------------------------------------------------------------------------------------------

# As the token of a hello.
ACCESS: dict[str, Make] = {
    # the algorithm
    "alg none, no signature": unsigned("none"),
    "alg None": unsigned("None"),
    "alg NONE": unsigned("NONE"),
    "alg nOnE": unsigned("nOnE"),
    "alg empty": unsigned(""),
    "alg null": unsigned(None),
    "no alg": unsigned(...),
    "alg none with a signature": headed(CURRENT.secret, alg="none"),
    "alg none and no kid": made(f"{part({'alg': 'none'})}.{part(claims())}."),
    "alg HS384": made(jwt.encode(claims(), CURRENT.secret * 2, "HS384", {"kid": CURRENT.id})),
    "alg HS512": made(jwt.encode(claims(), CURRENT.secret * 2, "HS512", {"kid": CURRENT.id})),
    "alg in small letters": headed(CURRENT.secret, alg="hs256"),
    "alg a list": headed(CURRENT.secret, alg=["HS256"]),
    "RS256": made(jwt.encode(claims(), RSA, "RS256", {"kid": CURRENT.id})),
    "PS256": made(jwt.encode(claims(), RSA, "PS256", {"kid": CURRENT.id})),
    "ES256": made(jwt.encode(claims(), EC, "ES256", {"kid": CURRENT.id})),
    "HS256 with a public key as the secret": headed(RSA_PUBLIC),
    "RS256 in the header, HMAC with the public key": headed(RSA_PUBLIC, alg="RS256"),
    # the key
    "no key of ours": headed(),
    "an empty key": headed(b""),
    "kid a path to an empty file": headed(b"", kid="../../../../../../dev/null"),
    "kid a path to a key": headed(kid="../signing.key"),
    "kid an SQL union": headed(kid="x' UNION SELECT 'ffffffffffffffff"),
    "kid an SQL truth": headed(kid="' OR '1'='1"),
    "kid a command": headed(kid="|id"),
    "kid a URL": headed(kid="https://example.org/key"),
    "kid empty": headed(kid=""),
    "kid very long": headed(kid="f" * 1_000),
    "kid a list": headed(CURRENT.secret, kid=[CURRENT.id]),
    "kid an object": headed(CURRENT.secret, kid={"$ne": None}),
    "kid a number": headed(CURRENT.secret, kid=0),
    "kid true": headed(CURRENT.secret, kid=True),
    "kid null": headed(CURRENT.secret, kid=None),
    "kid unknown": headed(kid="0123456789abcdef"),
    "kid in capitals": headed(CURRENT.secret, kid=CURRENT.id.upper()),
    "kid with a NUL": headed(CURRENT.secret, kid=CURRENT.id + "\0"),
    "kid with a space": headed(CURRENT.secret, kid=CURRENT.id + " "),
    "kid of a key that has retired": headed(RETIRED.secret, kid=RETIRED.id),
    "kid of the older key, signed with the current": headed(CURRENT.secret, kid=OLDER.id),
    "kid of the current key, signed with the older": headed(OLDER.secret),
    "kid of a sealing key": lambda scene: token(header(kid=scene.sealing.id), scene.sealing.secret),
    "a sealing key under a signing key's kid": lambda scene: token(header(), scene.sealing.secret),
    "no kid": headed(CURRENT.secret, kid=...),
    "no kid, signed with the key that has retired": headed(RETIRED.secret, kid=...),
    # the header
    "a key in the header": headed(jwk={"kty": "oct", "k": part(FORGED)}),
    "a key's address in the header": headed(jku="https://example.org/keys.json"),
    "a certificate in the header": headed(x5c=[base64.b64encode(FORGED).decode()]),
    "crit": headed(CURRENT.secret, crit=["exp"]),
    "b64 false": headed(CURRENT.secret, b64=False, crit=["b64"]),
    "zip": headed(CURRENT.secret, zip="DEF"),
    "typ of the header": headed(CURRENT.secret, typ="JWE"),
    "a header that is a list": made(f"{part([header()])}.{part(claims())}.{part(FORGED)}"),
    "a header that is no JSON": made(f"{part(b'{')}.{part(claims())}.{part(FORGED)}"),
    "a header of brackets": made(f"{part(b'[' * 1_150)}.{part(claims())}.{part(FORGED)}"),
    "a kid twice": made(f"{part(TWICE)}.{part(claims())}.{part(FORGED)}"),
    # the claims
    "another audience": ours(aud="resume"),
    "an audience in a list": ours(aud=["access"]),
    "no audience": ours(aud=...),
    "another issuer": ours(iss="elsewhere"),
    "an issuer in a list": ours(iss=[ISSUER]),
    "no issuer": ours(iss=...),
    "another typ": ours(typ="resume"),
    "no typ": ours(typ=...),
    "nobody": ours(sub=...),
    "sub empty": ours(sub=""),
    "sub null": ours(sub=None),
    "sub true": ours(sub=True),
    "sub a float": ours(sub=1.0),
    "sub a number": ours(sub=1),
    "sub a list": ours(sub=["Ada"]),
    "sub of controls": ours(sub="Ada\n"),
    "sub with a NUL": ours(sub="Ada\0"),
    "sub with a lone surrogate": ours(sub="Ada\ud800"),
    "sub that turns its letters around": ours(sub="\u202eadA"),
    "sub with a space after it": ours(sub="Ada "),
    "sub too long": ours(sub="a" * (NAME_CHARS_MAX + 1)),
    "no iat": ours(iat=...),
    "iat a text": ours(iat=str(NOW_S)),
    "iat true": ours(iat=True),
    "no exp": ours(exp=...),
    "exp past": ours(exp=NOW_S - 1),
    "exp long past": ours(exp=0),
    "exp negative": ours(exp=-1),
    "exp a text": ours(exp=str(NOW_S + HOUR_S)),
    "exp a float": ours(exp=NOW_S + HOUR_S + 0.5),
    "exp without end": ours(exp=float("inf")),
    "exp no number": ours(exp=float("nan")),
    "exp null": ours(exp=None),
    "exp true": ours(exp=True),
    "nbf future": ours(nbf=NOW_S + HOUR_S),
    "nbf no number": ours(nbf="soon"),
    "nbf without end": ours(nbf=float("inf")),
    "no role": ours(role=...),
    "a role that there is not": ours(role="emperor"),
    "a role in a list": ours(role=["admin"]),
    "a session of nobody": ours(sid=uuid.UUID(int=7).hex),
    "a session that is no id": ours(sid="'; DROP TABLE sessions"),
    "a session that is a number": ours(sid=7),
    "claims in a list": lambda _: token(header(), CURRENT.secret, [claims()]),
    "claims a number": lambda _: token(header(), CURRENT.secret, 7),
    "claims no JSON": lambda _: token(header(), CURRENT.secret, b"{"),
    "claims no UTF-8": lambda _: token(header(), CURRENT.secret, b"\xff\xfe"),
    "claims of brackets": lambda _: token(header(), CURRENT.secret, b"[" * 1_300),
    # other purposes, other times
    "a refresh token": lambda scene: scene.refresh,
    "a ticket": lambda scene: scene.ticket,
    "a session that has ended": lambda scene: scene.ended_access,
    # the text
    "no token at all": made("hello"),
    "dots": made(".."),
    "many dots": made("." * 2_000),
    "one part": changed(lambda text: parts_of(text)[0]),
    "two parts": changed(lambda text: text.rpartition(".")[0]),
    "four parts": changed(lambda text: f"{text}.{parts_of(text)[2]}"),
    "five parts": changed(lambda text: f"{text}.x.y"),
    "no signature": changed(lambda text: text.rpartition(".")[0] + "."),
    "a signature cut short": changed(lambda text: text[:-1]),
    "a signature with more": changed(lambda text: text + "A"),
    "half a signature": changed(lambda text: text[:-22]),
    "the signature in another spelling": changed(twin),
    "padding": changed(lambda text: text + "="),
    "a space before": changed(lambda text: " " + text),
    "a line's end": changed(lambda text: text + "\n"),
    "a letter between that decoders pass over": changed(lambda text: text.replace(".", ".!", 1)),
    "Bearer": changed(lambda text: "Bearer " + text),
    "parts swapped": changed(lambda text: ".".join(reversed(parts_of(text)))),
    "header and claims swapped": changed(
        lambda text: ".".join([parts_of(text)[1], parts_of(text)[0], parts_of(text)[2]])
    ),
    "the claims of another": changed(lambda text: with_claim(text, sub="Root")),
    "more of a role": changed(lambda text: with_claim(text, role="admin")),
    "a longer life": changed(lambda text: with_claim(text, exp=NOW_S + 10 * HOUR_S)),
    "the signature of another token": lambda scene: (
        scene.offline.rpartition(".")[0] + "." + scene.access.rpartition(".")[2]
    ),
    "capitals changed": changed(str.swapcase),
    "letters that look alike": changed(lambda text: text.replace("e", "\u0435", 1)),
    "dots of full width": changed(lambda text: text.replace(".", "\uff0e")),
    "nothing of no width": changed(lambda text: text.replace(".", "\u200b.", 1)),
    "a mark of byte order": changed(lambda text: "\ufeff" + text),
    "a NUL after it": changed(lambda text: text + "\0"),
    "quoted for a URL": changed(lambda text: text.replace(".", "%2E")),
    "as long as fits": made("a" * TOKEN_CHARS_MAX),
}
# As the ticket of a hello.
TICKETS: dict[str, Make] = {
    "an access token": lambda scene: scene.access,
    "a token by landworld token": lambda scene: scene.offline,
    "a refresh token": lambda scene: scene.refresh,
    "a session that has ended": lambda scene: scene.ended_ticket,
    "no key of ours": lambda _: token(header(), FORGED, claims("resume")),
    "a key that has retired": lambda _: token(header(kid=RETIRED.id), RETIRED.secret, claims("resume")),
    "alg none": lambda _: f"{part(header(alg='none'))}.{part(claims('resume'))}.",
    "run out": ours("resume", exp=NOW_S - 1),
    "no name": ours("resume", name=...),
    "of somebody else": lambda scene: with_claim(scene.ticket, sub="name:root"),
}
# As a refresh token.
REFRESHES: dict[str, Make] = {
    "an access token": lambda scene: scene.access,
    "a ticket": lambda scene: scene.ticket,
    "a session that has ended": lambda scene: scene.ended_refresh,
    "no key of ours": lambda _: token(header(), FORGED, claims("refresh")),
    "a key that has retired": lambda _: token(header(kid=RETIRED.id), RETIRED.secret, claims("refresh")),
    "alg none": lambda _: f"{part(header(alg='none'))}.{part(claims('refresh'))}.",
    "run out": ours("refresh", exp=NOW_S - 1),
    "a session of nobody": ours("refresh"),
    "no session": regen(sid=...),
    "no generation": regen(gen=...),
    "generation 0": regen(gen=0),
    "generation below 0": regen(gen=-1),
    "generation true": regen(gen=True),
    "generation a text": regen(gen="1"),
    "generation a float": regen(gen=1.0),
    "generation beyond all": regen(gen=2**63),
    "a generation on": lambda scene: with_claim(scene.refresh, gen=2),
    "empty": made(""),
}
# What does not fit the wire ends the connection.
TOO_LONG = {
    "a letter too long": ("a" * (TOKEN_CHARS_MAX + 1), CloseCode.INVALID_DATA),
    "a megabyte": ("a" * 1_000_000, CloseCode.TOO_BIG),
    "a megabyte, well signed": (
        token(header(), CURRENT.secret, claims(padding="x" * 750_000)),
        CloseCode.TOO_BIG,
    ),
}
ROWS: list[tuple[str, str, Make]] = [
    (place, name, make)
    for place, table in (("token", ACCESS), ("ticket", TICKETS), ("refresh", REFRESHES))
    for name, make in table.items()
]


# --- the server --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data() -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="landworld-test-"))
    replace_ring(place / SIGNING_FILE, Ring((RETIRED, OLDER, CURRENT)))
    yield place
    shutil.rmtree(place, ignore_errors=True)


@pytest.fixture(scope="module", params=[0, 1], ids=["one process", "gateways"])
def server(data: Path, request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    settings = {
        "ACCOUNTS__ARGON2_MEMORY_KIB": 8,
        "LIMITS__RATES__ACCOUNT__PER_S": 1_000,
        "LIMITS__RATES__ACCOUNT__BURST": 5_000,
        "SERVER__GATEWAYS": request.param,
    }
    with serving(data, settings) as running:
        yield running


async def result(client: Client, request: ClientMessage) -> dict[str, Any]:
    answer = await client.ask(request)
    assert isinstance(answer, Ok), answer
    found: dict[str, Any] = answer.result
    return found


async def scene_of(server: ServerProcess) -> Scene:
    name = f"Ann {uuid.uuid4().hex[:8]}"
    client = await Client.open(server)
    made = await result(client, AccountRegister(1, uuid.uuid4().bytes, name, "", PASSWORD))
    ended = await result(client, AccountLogin(2, name, PASSWORD))
    await client.leave()
    player = await Client.join(server, token=str(ended["access_token"]))
    await result(player, AccountLogout(3))
    await player.leave()
    guest = await Client.join(server)
    await guest.leave()
    return Scene(
        str(made["access_token"]),
        str(made["refresh_token"]),
        str(ended["access_token"]),
        str(ended["refresh_token"]),
        player.welcome.resume,
        guest.welcome.resume,
        server.token("Ada"),
        read_ring(server.data / SEALING_FILE).keys[0],
    )


async def outcome(server: ServerProcess, place: str, text: str) -> tuple[RefusalCode, CloseCode] | str:
    """What a token comes to: the refusal, and how the connection ended; or where it let in."""
    client = await Client.open(server)
    hello = Hello(PROTOCOL_VERSION, "tests", *((text, None) if place == "token" else (None, text)))
    request = AccountRefresh(1, text) if place == "refresh" else hello
    await client.send(request)
    refused = await client.wait(ServerMessage, lambda told: isinstance(told, Refused | Welcome | Ok))
    if not isinstance(refused, Refused):
        await client.leave()
        return f"let in: {refused}"
    if place == "refresh":  # a request, which leaves the connection as it was
        await client.leave()
        return refused.code, CloseCode.REFUSED
    return refused.code, CloseCode((await client.wait_closed())[0])


def test_there_are_as_many_ways_as_there_should_be(capsys: pytest.CaptureFixture[str]) -> None:
    count = len(ROWS) + len(TOO_LONG)
    with capsys.disabled():
        sys.stdout.write(f"\ntokens: {count} forged or stale ones")
    assert count >= WAYS_MIN


async def test_each_is_refused_and_the_server_goes_on(
    server: ServerProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    """Guards: SHAPE, the table of headers in Signer.ring, `is_retired`, CLAIMS and the options of jwt.decode, `typ`; all in auth.py."""
    scene = await scene_of(server)
    witness = await Client.join(server, token=scene.offline)
    wrong: dict[str, object] = {}
    for place, name, make in ROWS:
        found = await outcome(server, place, make(scene))
        if found != (RefusalCode.BAD_TOKEN, CloseCode.REFUSED):
            wrong[f"{place}: {name}"] = found
    assert not wrong
    for name, (text, code) in TOO_LONG.items():
        client = await Client.open(server)
        await client.socket.send(msgpack.packb([code_of(Hello), PROTOCOL_VERSION, "tests", text]))
        assert (await client.wait_closed())[0] == code, name
    client = await Client.open(server)
    assert await result(
        client, AccountRefresh(1, scene.refresh)
    )  # nothing of all that has touched the session
    await client.leave()
    await witness.place()  # who was there is served as before
    await witness.leave()
    assert server.process is not None
    assert server.process.poll() is None
    with capsys.disabled():
        sys.stdout.write(f"\ntokens: {len(ROWS) + len(TOO_LONG)} refused, one by one\n")


async def test_what_was_changed_in_them_is_what_they_are_refused_for(server: ServerProcess) -> None:
    """The same tokens without what is wrong in them let in: with the current key and with the older one."""
    scene = await scene_of(server)
    good = [
        ("token", token(header(), CURRENT.secret)),
        ("token", token(header(kid=OLDER.id), OLDER.secret)),
        ("token", token(header(), CURRENT.secret, claims(nbf=NOW_S - 1))),
        ("token", scene.access),
        ("token", scene.offline),
        ("ticket", token(header(), CURRENT.secret, claims("resume"))),
        ("ticket", scene.ticket),
    ]
    for place, text in good:
        client = await Client.open(server)
        await client.send(
            Hello(PROTOCOL_VERSION, "tests", *((text, None) if place == "token" else (None, text)))
        )
        await client.wait(Welcome)
        await client.leave()
