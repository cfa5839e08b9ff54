"""Whose connection it is, by what proxies say, and which of them are believed."""

import pytest

from server.proxies import Proxies

PROXIES = Proxies(("192.0.2.1", "10.0.0.0/8", "fd00::/8"))
ROWS = {
    "no proxy, nothing said": ("203.0.113.9", [], "203.0.113.9"),
    "no proxy, but it says so": ("203.0.113.9", ["198.51.100.7"], "203.0.113.9"),
    "a proxy that says nothing": ("192.0.2.1", [], "192.0.2.1"),
    "a proxy": ("192.0.2.1", ["198.51.100.7"], "198.51.100.7"),
    "a client that tells stories": ("192.0.2.1", ["8.8.8.8, 198.51.100.7"], "198.51.100.7"),
    "two proxies of ours": ("10.1.2.3", ["8.8.8.8, 198.51.100.7, 10.9.9.9"], "198.51.100.7"),
    "in two lines": ("192.0.2.1", ["8.8.8.8", "198.51.100.7,10.9.9.9"], "198.51.100.7"),
    "only proxies": ("192.0.2.1", ["10.0.0.2"], "10.0.0.2"),
    "noise": ("192.0.2.1", ["198.51.100.7, <script>"], "192.0.2.1"),
    "IPv6": ("fd00::1", ["2001:DB8:0::7"], "2001:db8::7"),
    "IPv4 on an IPv6 socket": ("::ffff:192.0.2.1", ["::ffff:198.51.100.7"], "198.51.100.7"),
}


@pytest.mark.parametrize(("peer", "forwarded", "client"), ROWS.values(), ids=ROWS)
def test_the_last_hop_that_is_no_proxy_of_ours_is_the_client(
    peer: str, forwarded: list[str], client: str
) -> None:
    assert PROXIES.client_of(peer, forwarded) == client


def test_without_a_setting_nobody_is_believed() -> None:
    assert Proxies(()).client_of("127.0.0.1", ["198.51.100.7"]) == "127.0.0.1"
