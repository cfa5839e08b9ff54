"""`landworld outbox`: letters that wait in the data directory for want of a mail server.

`list` prints one a line, the newest last; `show` prints one as it would have been sent, the newest or the one of that number. Whoever
sees them can use the codes in them: they are for whoever hosts the world.
"""

import argparse
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

from server.config import Config, ConfigError, load_config
from server.mail import OUTBOX, letters_in
from tools.database import ended, say


def add_parser(sub: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The sub-command."""
    parser = sub.add_parser("outbox", help="show letters that no mail server takes", description=__doc__)
    parser.add_argument("--data", type=Path, help="another data directory than that of the settings")
    parser.set_defaults(run=run, work=_list)
    actions = parser.add_subparsers(metavar="ACTION")
    actions.add_parser("list", help="a letter a line (the default)")
    shows = actions.add_parser("show", help="one letter")
    shows.add_argument("number", type=int, nargs="?", help="as `list` counts them; the newest by default")
    shows.set_defaults(work=_show)


def run(arguments: argparse.Namespace) -> int:
    """0 when it is shown, 1 with a message when there is nothing like that, 2 for wrong settings."""
    try:
        config = load_config()
        outbox = (arguments.data or config.data) / OUTBOX
        if config.mail.host:
            say(
                f"Mail goes to {config.mail.host}:{config.mail.port} (mail.host); what lies here is of before."
            )
        return int(arguments.work(arguments, config, letters_in(outbox)))
    except (ConfigError, OSError) as error:
        return ended(error, "Not shown")


def _list(_: argparse.Namespace, config: Config, letters: list[Path]) -> int:
    for number, path in enumerate(letters, 1):
        letter = _read(path)
        print(f"{number:>4}  {letter['Date']}  {letter['To']}  {letter['Subject']}")
    if not letters:
        say("The outbox is empty.")
    return 0


def _show(arguments: argparse.Namespace, config: Config, letters: list[Path]) -> int:
    number = len(letters) if arguments.number is None else arguments.number
    if not 1 <= number <= len(letters):
        say(f"There is no letter {number}; there are {len(letters)}." if letters else "The outbox is empty.")
        return 1
    letter = _read(letters[number - 1])
    for name in ("Date", "From", "To", "Subject"):
        print(f"{name}: {letter[name]}")
    print()
    print(letter.get_content().replace("\r\n", "\n"), end="")
    return 0


def _read(path: Path) -> EmailMessage:
    letter = message_from_bytes(path.read_bytes(), policy=default)
    assert isinstance(letter, EmailMessage)
    return letter
