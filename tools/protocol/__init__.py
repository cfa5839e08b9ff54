"""`landworld protocol`: the protocol as JSON, and the files that are made from it.

One description (description.py) feeds those of the messages, so none can tell another story:

    protocol/PROTOCOL.md         for a person who writes a client
    tools/browser/protocol.js    the browser's codec
    tests/vectors/codec.json     messages and their bytes, made by a second MessagePack implementation
    tests/vectors/movement.json  walks by the world's rule of movement, for whoever predicts it

The files are committed, because neither a reader nor a browser should need to run anything; `--check` tells when one is stale.
"""

import argparse
import json
import sys
from pathlib import Path

from tools.protocol import javascript, markdown, vectors, walks
from tools.protocol.description import describe

ROOT = Path(__file__).resolve().parents[2]


def add_parser(sub: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds `protocol` to the `landworld` command."""
    parser = sub.add_parser(
        "protocol", help="print the protocol, or make and check the files that describe it"
    )
    act = parser.add_mutually_exclusive_group(required=True)
    act.add_argument("--json", action="store_true", help="print the whole protocol as one line of JSON")
    act.add_argument(
        "--write", action="store_true", help="write PROTOCOL.md, protocol.js and the test vectors"
    )
    act.add_argument("--check", action="store_true", help="exit with 1 when one of those files is stale")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Does what the arguments say; the exit code is 0, or 1 for a stale file."""
    if args.write:
        return write()
    if args.check:
        return check()
    print(json.dumps(describe()))
    return 0


def generated() -> dict[str, str]:
    """Every generated file: its path from the root of the repository, and what it must contain."""
    protocol = describe()
    return {
        "protocol/PROTOCOL.md": markdown.render(protocol),
        "tools/browser/protocol.js": javascript.render(protocol),
        "tests/vectors/codec.json": vectors.render(protocol),
        "tests/vectors/movement.json": walks.render(),
    }


def stale() -> list[str]:
    """The generated files that are missing or differ from what they must contain."""
    return [path for path, text in generated().items() if not _holds(ROOT / path, text)]


def write() -> int:
    """Writes the files that are stale, and names them."""
    texts = generated()
    for path in stale():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(texts[path], encoding="utf-8")
        print(f"wrote {path}")
    return 0


def check() -> int:
    """Names the stale files and the command that mends them; 1 when there is one."""
    paths = stale()
    for path in paths:
        print(f"{path} is stale; run: landworld protocol --write", file=sys.stderr)
    return 1 if paths else 0


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text
