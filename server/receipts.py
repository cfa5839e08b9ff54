"""Signed receipts of journal entries: what a player can show to others, without this server.

    {"entry": the record as it is stored, "before": digest of the entry before, "digest": of this one, "key": public key, "signature"}

JSON; bytes in hexadecimal. The digest must be BLAKE2b over `before` and the record (world/entries.py), and the signature is Ed25519
over the digest. Whoever knows that a public key is this world's needs nothing else: `landworld receipt FILE` checks it offline.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from persistence.keyring import load_secret
from world.entries import Record, chained, read
from world.ledger import Post
from world.parcels import Parcel
from world.sales import Auction

KEY_FILE = "receipt.key"
FORMERLY = ("owner_id", "tenant_id", "seller_id", "giver_id")  # in results: whose it may be no more
PARTS = {"entry", "before", "digest", "key", "signature"}


class BadReceipt(ValueError):  # noqa: N818
    """It was not signed with this key, or is not as it was signed."""


@dataclass(frozen=True, slots=True)
class Notary:
    """Signs for one world."""

    key: Ed25519PrivateKey

    @classmethod
    def of(cls, data: Path) -> "Notary":
        """With the key of a data directory, made there if it is not there yet."""
        return cls(Ed25519PrivateKey.from_private_bytes(load_secret(data / KEY_FILE)))

    @property
    def public_key(self) -> str:
        """In hexadecimal."""
        return self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()

    def receipt(self, record: str, digest: bytes, before: bytes) -> bytes:
        """The receipt of a stored entry."""
        return json.dumps(
            {
                "entry": record,
                "before": before.hex(),
                "digest": digest.hex(),
                "key": self.public_key,
                "signature": self.key.sign(digest).hex(),
            }
        ).encode()


def concerns(entry: Record, player_id: int) -> bool:
    """Whether a player has part in an entry: did it, paid or was paid, owns or rents what it is about, or did until then."""
    if entry.player_id == player_id:
        return True
    result = entry.result if isinstance(entry.result, dict) else {}
    if player_id in map(result.get, FORMERLY):
        return True
    for change in entry.changes:
        if isinstance(change, Post) and change.account == player_id:
            return True
        if isinstance(change, Parcel) and player_id in (change.owner_id, change.holder_id):
            return True
    return False


def is_secret(entry: Record, player_id: int) -> bool:
    """Whether an entry tells what a player must not know: what somebody else would pay at most, or a reserve. It is in each state of an
    auction; who has it in the end may know all, and its seller what there was before anybody bid.
    """
    auctions = [change for change in entry.changes if isinstance(change, Auction)]
    return any(
        one.buyer_id != player_id and (one.standing.has_bids or one.seller_id != player_id)
        for one in auctions
    )


def verify(receipt: bytes, public_key: str | None = None) -> dict[str, Any]:
    """The entry that a receipt is about. Raises BadReceipt; without a public key that of the receipt is believed to be the world's."""
    try:
        parts = json.loads(receipt)
        if not isinstance(parts, dict) or not parts.keys() >= PARTS:
            raise BadReceipt(f"this is no receipt: it needs {', '.join(sorted(PARTS))}")
        entry, key, digest = str(parts["entry"]), str(parts["key"]), bytes.fromhex(parts["digest"])
        if public_key is not None and key != public_key:
            raise BadReceipt("it was signed with another key")
        if chained(bytes.fromhex(parts["before"]), entry.encode()) != digest:
            raise BadReceipt("the entry is not as it was signed")
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(
            bytes.fromhex(parts["signature"]), digest
        )
        read(entry.encode())  # anybody can sign what is no entry
        found: dict[str, Any] = json.loads(entry)
    except InvalidSignature:
        raise BadReceipt("the signature does not fit") from None
    except (KeyError, TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        if isinstance(error, BadReceipt):
            raise
        raise BadReceipt("this is no receipt: a part of it cannot be read") from None
    return found
