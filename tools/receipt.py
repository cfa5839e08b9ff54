"""`landworld receipt FILE`: is this receipt genuine? No server and no database is asked.

A receipt is what a player gets with `receipt_get`: an entry of the journal, signed. With --key it must be signed with that public key,
in hexadecimal; without one, only what the receipt says of itself is checked, and its key is printed for you to compare.
Who runs a world prints its public key with --print-key; its server tells it at /receipt-key, too.
Exit code 1: it is not as it was signed.
"""

import argparse
import json
import re
from pathlib import Path

from server.config import ConfigError, load_config
from server.receipts import KEY_FILE, BadReceipt, Notary, verify
from tools.database import say

RECEIPT_BYTES_MAX = 1_048_576  # far above the largest entry


def add_parser(sub: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The sub-command."""
    parser = sub.add_parser("receipt", help="check a receipt offline", description=__doc__)
    parser.add_argument("file", type=Path, nargs="?")
    parser.add_argument(
        "--key", metavar="HEX", type=_key, help="the world's public key, from a source you trust"
    )
    parser.add_argument("--print-key", action="store_true", help="print the public key of the data directory")
    parser.add_argument("--data", type=Path, help="another data directory than that of the settings")
    parser.set_defaults(run=run)


def _key(text: str) -> str:
    if not re.fullmatch("[0-9a-fA-F]{64}", text):
        raise argparse.ArgumentTypeError("a public key has 64 hexadecimal digits")
    return text.lower()


def run(arguments: argparse.Namespace) -> int:
    """0 when it is genuine, 1 when it is not, 2 for a file that cannot be read."""
    if arguments.print_key:
        return _print_key(arguments.data)
    if arguments.file is None:
        say("say which FILE to check, or --print-key")
        return 2
    try:
        with arguments.file.open("rb") as file:
            receipt = file.read(RECEIPT_BYTES_MAX)
        entry = verify(receipt, arguments.key)
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


def _print_key(data: Path | None) -> int:
    """Makes no key: a new one would fit no receipt."""
    try:
        directory = data or load_config().data
        if not (directory / KEY_FILE).exists():
            say(
                f"There is no key in {directory}: no server has started there. Is LANDWORLD_DATA the right directory?"
            )
            return 1
        print(Notary.of(directory).public_key)
    except ConfigError as error:
        say(str(error))
        return 2
    except OSError as error:
        say(f"Cannot read the key: {error}")
        return 1
    return 0
