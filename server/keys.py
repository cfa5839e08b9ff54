"""The keys of a server: which there are, where they come from, and how a server that runs takes in a rotation.

    signing   a ring; tokens and tickets
    sealing   a ring; private values in the database (persistence/sealing.py)
    lookup    one key, which never changes: private values are found by what it makes of them

Each is given in the environment (LANDWORLD_SIGNING_KEY and so on), or lies in a file of the data directory, made at the first start.
`landworld keys` changes the files; the keeper looks at them now and then, off the loop, and hands on what changed.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog
from pydantic import SecretStr

from persistence.keyring import RIPE_MS, Ring, load_ring, load_secret, read_ring
from server.config import Config, given_keys

SIGNING_FILE, SEALING_FILE, LOOKUP_FILE = "signing.key", "sealing.key", "lookup.key"
KEY_FILES = (SIGNING_FILE, SEALING_FILE, LOOKUP_FILE)
ANOTHER_LOOKUP_KEY = (
    f"E-mail addresses cannot be found by the lookup key that is here: put the {LOOKUP_FILE} of this world back into the data "
    "directory, or give it as LANDWORLD_LOOKUP_KEY. Until then no code for a forgotten password reaches anybody who gave their "
    "address before."
)
LOOK_S = 2.0  # well under RIPE_MS: who uses a new key finds everybody informed
assert LOOK_S * 2_000 < RIPE_MS

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Keys:
    """All of them."""

    signing: Ring
    sealing: Ring
    lookup: bytes


def load_keys(config: Config) -> Keys:
    """The keys as they are now; what is not there is made. Reads files. Raises BadRing, OSError."""
    given = given_keys(config.lookup_key)
    return Keys(
        load_signing(config),
        read_sealing(config, config.data) or load_ring(config.data / SEALING_FILE, now_ms()),
        given[0] if given else load_secret(config.data / LOOKUP_FILE),
    )


def load_signing(config: Config) -> Ring:
    """The ring of signing keys alone, for who only signs. Raises BadRing, OSError."""
    return ring_of(config.signing_key) or load_ring(config.data / SIGNING_FILE, now_ms())


def read_sealing(config: Config, data: Path) -> Ring | None:
    """The ring of sealing keys, if there is one. Those of a file go on opening where the environment gives newer ones.

    Raises BadRing, OSError.
    """
    given = ring_of(config.sealing_key)
    try:
        kept = read_ring(data / SEALING_FILE)
    except FileNotFoundError:
        return given
    return Ring((*kept.keys, *given.keys)) if given else kept


def lost_values(in_use: Mapping[str, int], ring: Ring | None) -> str:
    """What to tell a person of sealed values whose keys are not here; nothing where all are."""
    lost = {key_id: count for key_id, count in in_use.items() if ring is None or key_id not in ring}
    if not lost:
        return ""
    return (
        f"{sum(lost.values()):,} private values (e-mail, addresses, reports) cannot be opened: the keys they were sealed with are "
        f"not here ({', '.join(sorted(lost))}). Put {SEALING_FILE} and {LOOKUP_FILE} of their world into the data directory, or "
        "give the keys as LANDWORLD_SEALING_KEY and LANDWORLD_LOOKUP_KEY. Without them the values are lost; all else goes on."
    )


def ring_of(given: SecretStr | None) -> Ring | None:
    """The ring that the environment gives, if it does."""
    return Ring.of(*reversed(given_keys(given))) if given else None


def now_ms() -> int:
    """Milliseconds since 1970, for keys."""
    return time.time_ns() // 1_000_000


class Keeper:
    """Looks at the key files."""

    def __init__(self, config: Config, keys: Keys) -> None:
        self.keys = keys
        self._config = config
        self._trouble = ""

    def start(self, on_change: Callable[[Keys], None]) -> asyncio.Task[None]:
        """Begins to look; `on_change` runs on the loop, with all keys as they are then. Returns the work, to be supervised."""
        return asyncio.create_task(self._look(on_change), name="keys")

    async def _look(self, on_change: Callable[[Keys], None]) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                keys = await asyncio.to_thread(self._read)
            except (
                OSError
            ) as error:  # those it has are still good; a person must mend the file before the next start
                if str(error) != self._trouble:
                    self._trouble = str(error)
                    log.error("keys_unreadable", error=self._trouble)
                continue
            self._trouble = ""
            if keys != self.keys:
                self.keys = keys
                log.info("keys_changed", signing=keys.signing, sealing=keys.sealing)
                on_change(keys)

    def _read(self) -> Keys:
        """In a thread. Nothing is made: a file that is gone is trouble, too."""
        data = self._config.data
        return Keys(
            ring_of(self._config.signing_key) or read_ring(data / SIGNING_FILE),
            read_sealing(self._config, data) or read_ring(data / SEALING_FILE),
            self.keys.lookup,
        )
