"""`landworld token`: signs access tokens offline, for bots and tests.

The same name is the same player. Several at once are called NAME-1 to NAME-N. One token a line, on standard output.
"""

import argparse
import sys

from protocol.messages import Role
from server.auth import Signer, now_s
from server.config import TOKEN_DAYS_MAX, TOKEN_DAYS_MIN, ConfigError, load_config
from server.keys import load_signing

COUNT_MAX = 1_000_000


def add_parser(sub: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The sub-command."""
    parser = sub.add_parser("token", help="sign access tokens", description=__doc__)
    parser.add_argument("--name", required=True, help="the player's name")
    parser.add_argument("--count", type=int, metavar="N", help="N tokens, for NAME-1 to NAME-N")
    parser.add_argument("--days", type=float, help="good for so long (session.token_days by default)")
    parser.add_argument("--role", choices=[role.value for role in Role], default=Role.USER.value)
    parser.set_defaults(run=token)


def token(arguments: argparse.Namespace) -> int:
    """Prints the tokens."""
    try:
        config = load_config()
        if arguments.count is not None and not 1 <= arguments.count <= COUNT_MAX:
            raise ValueError(f"--count goes from 1 to {COUNT_MAX:,}")
        days = config.session.token_days if arguments.days is None else arguments.days
        if not TOKEN_DAYS_MIN <= days <= TOKEN_DAYS_MAX:  # not so for nan, either
            raise ValueError(f"--days goes from {TOKEN_DAYS_MIN} to {TOKEN_DAYS_MAX:,}")
        for line in sign(arguments.name, arguments.count, days, Role(arguments.role)):
            print(line)
    except (ConfigError, ValueError, OSError) as error:
        print(f"No token: {error}", file=sys.stderr)
        return 2
    return 0


def sign(name: str, count: int | None, days: float, role: Role = Role.USER) -> list[str]:
    """Tokens for NAME, or for NAME-1 to NAME-N, signed with the key of the configured data directory."""
    config = load_config()
    signer = Signer(load_signing(config))
    names = [name] if count is None else [f"{name}-{number}" for number in range(1, count + 1)]
    return [signer.access(one, now_s(), days, role) for one in names]
