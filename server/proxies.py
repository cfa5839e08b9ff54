"""Who is at the other end, when a reverse proxy stands in between.

A proxy names in X-Forwarded-For whom it speaks for, and so may anybody: only what a proxy of `server.trusted_proxies` says is believed.
The list is read from its end, where the nearest hop has written; what stands before the last hop that is no proxy of ours is hearsay.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

SUBSCRIBER_BITS = 64  # of an IPv6 address: who gets one gets at least all that begin with these (RFC 6177)

Address = IPv4Address | IPv6Address


class Proxies:
    """The trusted ones, each an address or a network in text."""

    def __init__(self, trusted: Iterable[str]) -> None:
        self._networks = [ip_network(text) for text in trusted]

    def holds(self, address: str) -> bool:
        """Whether this is the address of a trusted proxy."""
        parsed = _parse(address)
        return parsed is not None and any(parsed in network for network in self._networks)

    def client_of(self, peer: str, forwarded: Iterable[str]) -> str:
        """The address of the client of a connection from `peer`; `forwarded` are the X-Forwarded-For lines in their order."""
        address = peer
        hops = [hop.strip() for line in forwarded for hop in line.split(",")]
        while hops and self.holds(address):
            parsed = _parse(hops.pop())
            if parsed is None:
                break
            address = str(parsed)
        return address


def counted_as(address: str) -> str:
    """Under which name limits per address count it: an IPv6 address is one of 2**64 that the same subscriber may use by turns."""
    parsed = _parse(address)
    if isinstance(parsed, IPv6Address):
        return str(ip_network((parsed.packed, SUBSCRIBER_BITS), strict=False))
    return address if parsed is None else str(parsed)


def _parse(text: str) -> Address | None:
    try:
        parsed = ip_address(text)
    except ValueError:
        return None
    return getattr(parsed, "ipv4_mapped", None) or parsed  # of a socket that listens to both kinds
