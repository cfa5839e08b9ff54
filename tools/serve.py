"""`landworld serve`: the server, in the foreground, until SIGTERM or Ctrl-C; with `--bots`, among residents."""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from persistence.embedded import DatabaseStartError, DirectoryError
from server.config import Config, ConfigError, load_config

BOTS_STOP_S = 0.5  # they have nothing to save


def add_parser(sub: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The sub-command."""
    parser = sub.add_parser("serve", help="run the server", description=__doc__)
    parser.add_argument(
        "--bots", type=int, default=0, metavar="N", help="let N bots walk around, over real sockets"
    )
    parser.add_argument(
        "--record",
        type=Path,
        metavar="FILE",
        help="write all commands down, for `landworld replay`; FILE.2, FILE.3 ... where there is one",
    )
    parser.add_argument(
        "--since",
        type=float,
        metavar="EPOCH_S",
        help="when the start began, for `make run`: told is how long it took until players can come",
    )
    parser.set_defaults(run=serve)


def serve(arguments: argparse.Namespace) -> int:
    """Runs the server; every foreseeable trouble is a sentence and an exit code, not a traceback."""
    try:
        config = load_config()
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    # Only now: this takes a second (numba, aiohttp, SQLAlchemy), and who mistyped a setting should not wait for it.
    from persistence.store import StoreError
    from server.http import ListenError
    from server.main import run

    residents = Residents(arguments.bots, config)

    def ready(game_port: int, _: int) -> None:
        if arguments.since is not None:
            print(f"  {time.time() - arguments.since:.0f} s since make run", flush=True)
        residents.start(game_port)

    try:
        return run(config, arguments.record, ready)
    except (DirectoryError, DatabaseStartError, StoreError, ListenError) as error:
        print(f"The server cannot start: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"The server cannot start: {error}", file=sys.stderr)
        return 1
    finally:
        residents.stop()


class Residents:
    """The bots that walk around in `make run`: a process of their own, which ends with the server."""

    def __init__(self, count: int, config: Config) -> None:
        self._count = count
        self._config = config
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, game_port: int) -> None:
        """Called when the server is ready."""
        if self._count:
            url = f"ws://127.0.0.1:{game_port}/"
            command = [
                sys.executable,
                "-m",
                "tools.cli",
                "bots",
                "--resident",
                "--url",
                url,
                "--count",
                str(self._count),
            ]
            self._process = subprocess.Popen(command)

    def stop(self) -> None:
        """Ends them."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(BOTS_STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
