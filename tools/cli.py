"""The `landworld` command: one sub-command per file of this package."""

import argparse
import importlib
import sys
from importlib.metadata import version

WRONG_USE = 2  # as argparse exits by itself
COMMANDS = (
    "serve",
    "bots",
    "map",
    "token",
    "logins",
    "keys",
    "outbox",
    "moderate",
    "protocol",
    "migrate",
    "audit",
    "journal",
    "receipt",
    "backup",
    "restore",
    "replay",
    "simulate",
    "crash",
    "bench",
)


def main() -> int:
    """Runs the sub-command; only its own module is imported, so that each starts quickly. The exit codes are in README.md."""
    named = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    wanted = named[:1] if named[:1] and named[0] in COMMANDS else COMMANDS
    parser = argparse.ArgumentParser(prog="landworld", description="A shared, owned, persistent 2D world.")
    parser.add_argument("--version", action="version", version=f"landworld {version('landworld')}")
    sub = parser.add_subparsers(metavar="COMMAND")
    for name in wanted:
        importlib.import_module(f"tools.{name}").add_parser(sub)
    arguments = parser.parse_args()
    if "run" not in arguments:
        parser.print_help(sys.stderr)
        return WRONG_USE
    try:
        return int(arguments.run(arguments))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 141


if __name__ == "__main__":
    sys.exit(main())
