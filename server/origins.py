"""Which pages may open the game socket.

A browser says in Origin where a page came from, and always in one form (RFC 6454 section 6.2): scheme, host in small letters, the
port only where it is not the scheme's own, and nothing else. So an origin is compared as text: what is not written as browsers
write it comes from no browser, and whatever is normalised before it is compared is one more way to be somebody else. Settings must be
in that form, too.

`same-host` is the page that this server's own HTTP port gives out, under the name by which the socket was reached: `http`, the
host of the Host header, `http.port`. A page that comes over HTTPS has a proxy before it, and is named in `server.origins`.
"""

import re
from collections.abc import Iterable
from ipaddress import ip_address

SAME_HOST = "same-host"
PORTS = {"http": "80", "https": "443"}  # which an origin leaves out
PORT_MAX = 65_535
ORIGIN = re.compile(r"(https?)://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([1-9][0-9]{0,4}))?", re.ASCII)
HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?", re.ASCII)


class Origins:
    """The allowed ones; `http_port` is the one that this server's own pages come from."""

    def __init__(self, allowed: Iterable[str], http_port: int) -> None:
        named = set(allowed)
        self._same_host = SAME_HOST in named
        self._named = named - {SAME_HOST}
        self._port = "" if str(http_port) == PORTS["http"] else f":{http_port}"

    def allow(self, origin: str, host: str) -> bool:
        """Whether a page of this origin may open the socket that was reached as `host`, as the headers have them."""
        if origin in self._named:
            return True
        here = HOST.fullmatch(host.lower()) if self._same_host else None
        return here is not None and origin == f"http://{here[1]}{self._port}"


def check_origin(text: str) -> None:
    """Raises ValueError, with what to write instead, for what no browser would ever send."""
    parts = ORIGIN.fullmatch(text)
    if parts is None:
        raise ValueError(
            f'"{text}" is no origin: write "{SAME_HOST}" or like "https://example.org:8443", '
            "in small letters and without a path"
        )
    scheme, host, port = parts.groups()
    if port == PORTS[scheme]:
        raise ValueError(
            f'"{text}" names the port that {scheme} has anyway; browsers leave it out, so write it without'
        )
    if int(port or 0) > PORT_MAX:
        raise ValueError(f'"{text}" has a port over {PORT_MAX}')
    if host.startswith("[") and host != (shortest := _shortest(host)):
        raise ValueError(f'"{text}" is not how browsers write this address; write {shortest}')


def _shortest(host: str) -> str:
    """An IPv6 address in brackets as browsers write it. Raises ValueError for what is none."""
    address = ip_address(host[1:-1])
    mapped = getattr(address, "ipv4_mapped", None)
    if mapped is None:
        return f"[{address.compressed}]"
    high, low = divmod(int(mapped), 65_536)
    return f"[::ffff:{high:x}:{low:x}]"  # Python would write its last half in dots
