"""Who may open the socket, over the real handshake: every way to write an origin that somebody might try; whom a proxy speaks for."""

import asyncio
import re
from collections.abc import Iterator

import pytest

from tests.harness import Raw, ServerProcess, serving
from tests.server.support import HANDSHAKE

NAMED = (
    "https://world.example.org",
    "http://plain.example.org:8081",
    "https://xn--mnchen-3ya.example",
    "http://[2001:db8::1]:8080",
)
PER_ADDRESS = 3
PROXY, STRANGER = "127.0.0.2", "127.0.0.3"


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    settings = {
        "SERVER__ORIGINS": ",".join(("same-host", *NAMED)),
        "SERVER__TRUSTED_PROXIES": f"{PROXY},10.0.0.0/8",
        "LIMITS__CONNECTIONS_PER_ADDRESS": PER_ADDRESS,
    }
    with serving(settings=settings) as server:
        yield server


def shaking(host: str, *lines: str) -> bytes:
    """A handshake with this Host and these lines more."""
    more = "".join(f"{line}\r\n" for line in lines).encode()
    return re.sub(rb"Host: .*\r\n", b"Host: " + host.encode() + b"\r\n" + more, HANDSHAKE)


# (origin, accepted?); PAGE is the port of this server's own pages, the Host header says localhost:8765.
LISTED = {
    "as it is listed": ("https://world.example.org", True),
    "spaces around it, which are HTTP's": ("  https://world.example.org \t", True),
    "capitals": ("https://World.Example.org", False),
    "capital scheme": ("HTTPS://world.example.org", False),
    "its scheme's own port": ("https://world.example.org:443", False),
    "the other scheme's port": ("https://world.example.org:80", False),
    "another port": ("https://world.example.org:8443", False),
    "an empty port": ("https://world.example.org:", False),
    "http for https": ("http://world.example.org", False),
    "a WebSocket's scheme": ("wss://world.example.org", False),
    "no scheme": ("world.example.org", False),
    "only slashes": ("//world.example.org", False),
    "dot at the end": ("https://world.example.org.", False),
    "slash at the end": ("https://world.example.org/", False),
    "a path": ("https://world.example.org/play", False),
    "a query": ("https://world.example.org?x", False),
    "a fragment": ("https://world.example.org#x", False),
    "a user": ("https://me@world.example.org", False),
    "listed as the user of another": ("https://world.example.org@evil.example", False),
    "a backslash": ("https://world.example.org\\@evil.example", False),
    "a name under it": ("https://a.world.example.org", False),
    "the name above it": ("https://example.org", False),
    "its name before another": ("https://world.example.org.evil.example", False),
    "its name behind another's": ("https://evilworld.example.org", False),
    "a letter for its dot": ("https://worldxexample.org", False),
    "percent-encoded": ("https://world%2Eexample.org", False),
    "two in one line": ("https://world.example.org https://evil.example", False),
    "two with a comma": ("https://world.example.org, https://world.example.org", False),
    "a pattern": ("https://*.example.org", False),
    "another scheme's": ("ftp://world.example.org", False),
    "with its unusual port": ("http://plain.example.org:8081", True),
    "without it": ("http://plain.example.org", False),
    "with zeros before it": ("http://plain.example.org:08081", False),
    "punycode": ("https://xn--mnchen-3ya.example", True),
    "the same in its own script": ("https://m\u00fcnchen.example", False),
    "a letter that looks alike": ("https://w\u043erld.example.org", False),
    "IPv6": ("http://[2001:db8::1]:8080", True),
    "IPv6 spelled out": ("http://[2001:db8:0:0:0:0:0:1]:8080", False),
    "IPv6 in capitals": ("http://[2001:DB8::1]:8080", False),
    "IPv6 without brackets": ("http://2001:db8::1:8080", False),
    "a page without an origin": ("null", False),
    "a file": ("file://", False),
    "an extension": ("chrome-extension://abcdefghijklmnop", False),
    "nothing": ("", False),
    "only spaces": ("   ", False),
    "the setting's own word": ("same-host", False),
    "everything": ("*", False),
    "this host's page": ("http://localhost:PAGE", True),
    "this host's page over TLS": ("https://localhost:PAGE", False),
    "this host's page by another scheme": ("ws://localhost:PAGE", False),
    "this host's page with a user": ("http://me@localhost:PAGE", False),
    "this host's page with a path": ("http://localhost:PAGE/", False),
    "this host's page with a dot": ("http://localhost.:PAGE", False),
    "another page of this host": ("http://localhost", False),
    "another port of this host": ("http://localhost:8765", False),
    "this host by its number": ("http://127.0.0.1:PAGE", False),
}


@pytest.mark.parametrize(("origin", "accepted"), LISTED.values(), ids=LISTED)
async def test_an_origin_is_accepted_as_it_is_listed_and_in_no_other_way(
    server: ServerProcess, origin: str, accepted: bool
) -> None:
    """Guard: server/origins.py compares text with text; whoever normalises it first lets some of these in."""
    sent = shaking("localhost:8765", "Origin: " + origin.replace("PAGE", str(server.http_port)))
    assert await answer(server, sent) == (101 if accepted else 403)


HOSTS = {
    "capitals, which browsers make small in an origin": ("LocalHost:8765", "http://localhost:PAGE", 101),
    "a number": ("127.0.0.1:8765", "http://127.0.0.1:PAGE", 101),
    "IPv6": ("[::1]:8765", "http://[::1]:PAGE", 101),
    "no port": ("localhost", "http://localhost:PAGE", 101),
    "a dot, which is another name to browsers too": ("localhost.:8765", "http://localhost.:PAGE", 101),
    "another host": ("example.org:8765", "http://localhost:PAGE", 403),
    "a user": ("me@localhost:8765", "http://localhost:PAGE", 403),
    "nothing": ("", "http://localhost:PAGE", 403),
    "half an address": ("[::1", "http://[::1]:PAGE", 403),
}


@pytest.mark.parametrize(("host", "origin", "status"), HOSTS.values(), ids=HOSTS)
async def test_the_same_host_is_the_one_that_the_socket_was_reached_by(
    server: ServerProcess, host: str, origin: str, status: int
) -> None:
    assert (
        await answer(server, shaking(host, "Origin: " + origin.replace("PAGE", str(server.http_port))))
        == status
    )


async def test_two_origins_or_two_hosts_are_none(server: ServerProcess) -> None:
    """Guards: Connection._why_not counts both; a proxy and this server might each look at another one."""
    good = "Origin: " + NAMED[0]
    assert await answer(server, shaking("localhost", good, good)) == 403
    assert await answer(server, shaking("localhost", good, "Origin: https://evil.example")) == 403
    assert await answer(server, shaking("localhost", good, "Host: localhost")) == 400
    assert await answer(server, HANDSHAKE.replace(b"Host: localhost:8765\r\n", b"")) == 400


async def answer(server: ServerProcess, sent: bytes, source: str = "127.0.0.1") -> int:
    """The status of a handshake; the line ends with it, and the server has seen that."""
    before = server.metric("landworld_connections")
    raw = await Raw.open(server, sent, source=source)
    status = await raw.status()
    raw.writer.close()
    await server.until("landworld_connections", lambda connections: connections <= before)
    return status


# --- proxies -------------------------------------------------------------------------------------------------------------


async def test_clients_of_a_trusted_proxy_are_counted_apart_and_cannot_say_who_they_are(
    server: ServerProcess,
) -> None:
    """Guards: Proxies.client_of reads from the end; Hub._forwarded counts anew, an IPv6 address as its /64."""
    clients = {
        "198.51.100.1": "198.51.100.1",
        "10.9.9.9, 198.51.100.2": "198.51.100.2",  # it says it came by a proxy of ours
        "198.51.100.3, 10.1.2.3": "198.51.100.3",  # it did
        "2001:db8:1:2::7": "2001:db8:1:2::/64",
    }
    for said in clients:
        held = [await opened(server, said) for _ in range(PER_ADDRESS)]
        assert [status for _, status in held] == [101] * PER_ADDRESS
        assert (await opened(server, said))[1] == 429
        await let_go(server, held)
    households = [f"2001:db8:1:{net}::{host}" for net in (2, 3) for host in range(1, PER_ADDRESS + 1)]
    held = [await opened(server, said) for said in households]
    assert [status for _, status in held] == [101] * len(households)
    assert (await opened(server, "2001:db8:1:2:ffff::9"))[1] == 429
    assert (await opened(server, "2001:db8:1:4::9"))[1] == 101
    await let_go(server, held)


async def test_nobody_else_is_believed_about_anybody(server: ServerProcess) -> None:
    """Guard: Proxies.client_of asks who the peer is first; a header could else be another address each time."""
    held = [
        await opened(server, f"198.51.100.{number}", source=STRANGER) for number in range(PER_ADDRESS + 1)
    ]
    assert [status for _, status in held] == [101] * PER_ADDRESS + [429]
    await let_go(server, held)


async def opened(server: ServerProcess, said: str, source: str = PROXY) -> tuple[Raw, int]:
    """A line that stays open, forwarded for somebody, and the status of its handshake."""
    raw = await Raw.open(server, shaking("localhost", f"X-Forwarded-For: {said}"), source=source)
    return raw, await raw.status()


async def let_go(server: ServerProcess, held: list[tuple[Raw, int]]) -> None:
    for raw, _ in held:
        raw.writer.close()
    await asyncio.gather(*(raw.writer.wait_closed() for raw, _ in held), return_exceptions=True)
    await server.until("landworld_connections", lambda connections: connections == 0)
