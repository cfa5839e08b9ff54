"""`landworld receipt FILE`: is this receipt genuine? No server and no database is asked.

A receipt is what a player gets with `receipt_get`: an entry of the journal, signed. With --key it must be signed with that public key,
in hexadecimal; without one, only what the receipt says of itself is checked, and its key is printed for you to compare.
Exit code 1: it is not as it was signed.
"""

import argparse
import json
from pathlib import Path

from server.receipts import BadReceipt, verify
from tools.database import say

RECEIPT_BYTES_MAX = 1_048_576  # far above the largest entry


def add_parser(sub: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The sub-command."""
    parser = sub.add_parser("receipt", help="check a receipt offline", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--key", metavar="HEX", help="the world's public key, from a source you trust")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """0 when it is genuine, 1 when it is not, 2 for a file that cannot be read."""
    try:
        with arguments.file.open("rb") as file:
            receipt = file.read(RECEIPT_BYTES_MAX)
        entry = verify(receipt, arguments.key.lower() if arguments.key else None)
    except OSError as error:
        say(f"Cannot read {arguments.file}: {error.strerror}")
        return 2
    except BadReceipt as error:
        say(f"NOT genuine: {error}")
        return 1
    key = json.loads(receipt)["key"]
    print(json.dumps(entry, indent=2, ensure_ascii=False))
    if arguments.key:
        print(f"Genuine: entry {entry['seq']}, signed with the given key.")
    else:
        print(f"Entry {entry['seq']} is as it was signed with {key}; is that this world's key?")
    return 0
