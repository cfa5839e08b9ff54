"""Whose connection it is, by what proxies say, and which of them are believed."""

import pytest

from server.proxies import Proxies, counted_as

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
    "a longer list of stories": ("192.0.2.1", ["127.0.0.1, 10.0.0.1, 8.8.8.8, 198.51.100.7"], "198.51.100.7"),
    "says it is a proxy of ours": ("192.0.2.1", ["10.0.0.7, 198.51.100.7"], "198.51.100.7"),
    "says it is this machine": ("203.0.113.9", ["127.0.0.1"], "203.0.113.9"),
    "a chain of proxies, the last of which is a stranger's": (
        "10.1.2.3",
        ["198.51.100.7, 203.0.113.9"],
        "203.0.113.9",
    ),
    "nothing between two commas": ("192.0.2.1", ["198.51.100.7,,10.9.9.9"], "10.9.9.9"),
    "an empty line": ("192.0.2.1", [""], "192.0.2.1"),
    "with a port": ("192.0.2.1", ["198.51.100.7:443"], "192.0.2.1"),
    "half an octet too many": ("192.0.2.1", ["198.51.100.777"], "192.0.2.1"),
    "zeros that some read as octal": ("192.0.2.1", ["198.51.100.010"], "192.0.2.1"),
    "a zone": ("fd00::1", ["fe80::1%eth0"], "fe80::1%eth0"),
    "IPv6": ("fd00::1", ["2001:DB8:0::7"], "2001:db8::7"),
    "IPv4 on an IPv6 socket": ("::ffff:192.0.2.1", ["::ffff:198.51.100.7"], "198.51.100.7"),
}


@pytest.mark.parametrize(("peer", "forwarded", "client"), ROWS.values(), ids=ROWS)
def test_the_last_hop_that_is_no_proxy_of_ours_is_the_client(
    peer: str, forwarded: list[str], client: str
) -> None:
    assert PROXIES.client_of(peer, forwarded) == client


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("?", "?"),
    ],
)
def test_limits_count_an_ipv6_address_by_what_one_subscriber_has(address: str, counted: str) -> None:
    assert counted_as(address) == counted


def test_without_a_setting_nobody_is_believed() -> None:
    assert Proxies(()).client_of("127.0.0.1", ["198.51.100.7"]) == "127.0.0.1"
