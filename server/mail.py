"""Mail goes out beside the tick: to a mail server (`mail.host`), or, by default, into a directory where the host of the world finds it.

    send      builds the letter and queues it; refused when `mail.queue_max` wait
    SENDERS   tasks that take letters and carry them: one connection a letter, `mail.attempt_s` at most. What cannot be carried now is
              tried again after a pause that doubles; after `mail.give_up_s` it is dropped. What the server refuses for good is dropped
              at once. A letter that waits for its next attempt holds up no other
    outbox    DATA/outbox/TIME-CHANCE.eml, one a letter, for their owner only; over `mail.outbox_files_max` the oldest goes

Letters wait in memory: a crash loses them, a stop tries what is in the queue. Whoever misses one can ask for it again. No address and
nothing of a letter is ever logged, nor what mail servers say, which repeats them.
"""

import asyncio
import secrets
import ssl
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, make_msgid
from pathlib import Path

import aiosmtplib
import structlog

from persistence.files import write_new
from protocol.errors import Refusal, RefusalCode
from server.config import MailConfig
from server.tasks import end

OUTBOX = "outbox"
SENDERS = 4
PAUSE_S_MIN, PAUSE_S_MAX = 1.0, 300.0
ADDRESS_CHARS_MAX = 254  # RFC 5321 section 4.5.3.1.3, without the brackets
LOCAL_CHARS_MAX = 64
RETRY_AFTER_MS = 30_000

log = structlog.get_logger()


class Undeliverable(Exception):  # noqa: N818
    """The mail server refuses this letter for good."""


@dataclass(slots=True)
class Letter:
    """One that is on its way. Nothing of it is shown where it is printed."""

    message: EmailMessage = field(repr=False)
    recipient: str = field(repr=False)
    give_up_at_s: float
    pause_s: float = PAUSE_S_MIN


class Mailer:
    """Sends mail. Counts what became of it."""

    def __init__(self, config: MailConfig, data: Path) -> None:
        self.waiting = self.sent = self.undeliverable = self.given_up = 0
        self._config = config
        self._outbox = data / OUTBOX
        self._carry: Callable[[Letter], Coroutine[None, None, None]]
        self._carry = self._to_server if config.host else self._to_outbox
        self._loop = asyncio.get_running_loop()
        self._letters: asyncio.Queue[Letter] = asyncio.Queue()  # `waiting` bounds it
        self._tls: ssl.SSLContext | None = None
        self._later: set[asyncio.TimerHandle] = set()
        self._carrying = 0
        self._idle = asyncio.Event()
        self._trouble = ""
        self._tasks: list[asyncio.Task[None]] = []

    def send(self, recipient: str, subject: str, text: str) -> None:
        """Queues a letter. Raises Refusal when too many wait, ValueError for an address that is none."""
        if self.waiting >= self._config.queue_max:
            advice = "Much mail is waiting to go out; try again in a moment."
            raise Refusal(RefusalCode.UNAVAILABLE, advice, RETRY_AFTER_MS)
        recipient = checked_address(recipient)
        message = _message(self._config.from_address, recipient, subject, text)
        letter = Letter(message, recipient, self._loop.time() + self._config.give_up_s)
        self.waiting += 1
        self._letters.put_nowait(letter)

    def start(self) -> list[asyncio.Task[None]]:
        """Begins to carry; returns the work, to be supervised."""
        self._tasks = [asyncio.create_task(self._serve(), name=f"mail {number}") for number in range(SENDERS)]
        return self._tasks

    async def stop(self, seconds_max: float) -> None:
        """Carries what is in the queue, for so long; the rest is lost."""
        for handle in self._later:
            handle.cancel()
        self._idle.clear()
        if self._carrying or not self._letters.empty():
            waiting = asyncio.create_task(self._idle.wait())
            await asyncio.wait({waiting}, timeout=seconds_max)
            waiting.cancel()
        await end(*self._tasks)
        if self.waiting:
            log.warning("mail_lost", letters=self.waiting)

    async def _serve(self) -> None:
        while True:
            letter = await self._letters.get()
            self._carrying += 1
            try:
                await self._try(letter)
            finally:
                self._carrying -= 1
            if not self._carrying and self._letters.empty():
                self._idle.set()

    async def _try(self, letter: Letter) -> None:
        """One attempt."""
        try:
            async with asyncio.timeout(self._config.attempt_s):
                await self._carry(letter)
        except Undeliverable as error:
            self.waiting -= 1
            self.undeliverable += 1
            log.info("mail_refused", reason=str(error))
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
            self._put_off(letter, _reason(error))
        else:
            self.waiting -= 1
            self.sent += 1
            if self._trouble:
                self._trouble = ""
                log.info("mail_goes_again")

    def _put_off(self, letter: Letter, reason: str) -> None:
        if reason != self._trouble:
            self._trouble = reason
            log.warning("mail_put_off", reason=reason)
        if self._loop.time() + letter.pause_s > letter.give_up_at_s:
            self.waiting -= 1
            self.given_up += 1
            log.warning("mail_given_up", reason=reason)
            return
        handle: asyncio.TimerHandle

        def again() -> None:
            self._later.discard(handle)
            self._letters.put_nowait(letter)

        handle = self._loop.call_later(letter.pause_s, again)
        self._later.add(handle)
        letter.pause_s = min(2 * letter.pause_s, PAUSE_S_MAX)

    async def _to_server(self, letter: Letter) -> None:
        """By SMTP. Raises Undeliverable, SMTPException, OSError."""
        config = self._config
        if (
            config.starttls and self._tls is None
        ):  # reading the system's certificates takes the better part of a tick
            self._tls = await asyncio.to_thread(ssl.create_default_context)
        try:
            await aiosmtplib.send(
                letter.message,
                sender=config.from_address,
                recipients=[letter.recipient],
                hostname=config.host,
                port=config.port,
                username=config.user or None,
                password=config.password.get_secret_value() if config.password else None,
                local_hostname=config.from_address.rpartition("@")[2],
                timeout=config.attempt_s,
                start_tls=config.starttls,
                tls_context=self._tls,
            )
        except aiosmtplib.SMTPRecipientsRefused as error:
            codes = sorted({one.code for one in error.recipients})
            if min(codes) >= 500:
                raise Undeliverable(f"the recipient, {codes[0]}") from None
            raise
        except aiosmtplib.SMTPDataError as error:
            if error.code >= 500:
                raise Undeliverable(f"the content, {error.code}") from None
            raise

    async def _to_outbox(self, letter: Letter) -> None:
        """Into the directory. Raises OSError."""
        await asyncio.to_thread(put, self._outbox, bytes(letter.message), self._config.outbox_files_max)


def put(outbox: Path, letter: bytes, files_max: int) -> None:
    """Writes a letter; the oldest go where there are too many. Blocks. Raises OSError."""
    write_new(outbox / f"{time.time_ns() // 1_000_000:013}-{secrets.token_hex(4)}.eml", letter)
    for old in letters_in(outbox)[:-files_max]:
        old.unlink(missing_ok=True)


def letters_in(outbox: Path) -> list[Path]:
    """The letters of an outbox, oldest first."""
    return sorted(outbox.glob("*.eml"))


def checked_address(address: str) -> str:
    """An address as mail servers take it: ASCII, a domain of another alphabet in its IDNA form. Raises ValueError with a reason."""
    local, at, domain = address.rpartition("@")
    if not at:
        raise ValueError("an address looks like name@example.org")
    if not local.isascii() or not local.isprintable() or " " in local:
        raise ValueError(
            "the part of an address before the @ has Latin letters, digits and signs, and no spaces"
        )
    try:
        domain = domain.encode("idna").decode().lower()
    except UnicodeError:
        domain = ""
    name = f"{local}@{domain}"
    labels = domain.split(".")
    if not all(label.replace("-", "").isalnum() and len(label) <= 63 for label in labels):
        raise ValueError("an address looks like name@example.org")
    if not 1 <= len(local) <= LOCAL_CHARS_MAX or len(name) > ADDRESS_CHARS_MAX:
        raise ValueError(
            f"an address has at most {ADDRESS_CHARS_MAX} characters, {LOCAL_CHARS_MAX} before the @"
        )
    if any(character in '"(),:;<>[]\\@' for character in local) or "" in local.split("."):
        raise ValueError("an address looks like name@example.org")
    return name


def _message(sender: str, recipient: str, subject: str, text: str) -> EmailMessage:
    message = EmailMessage(SMTP)
    message["From"] = _header(sender)
    message["To"] = _header(recipient)
    message["Subject"] = subject
    message["Date"] = formatdate()
    message["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2])
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office reply to this
    message.set_content(text)
    return message


def _header(address: str) -> Address:
    local, _, domain = address.rpartition("@")
    return Address(username=local, domain=domain)


def _reason(error: Exception) -> str:
    """What went wrong, without anything a mail server said."""
    code = f", {error.code}" if isinstance(error, aiosmtplib.SMTPResponseException) else ""
    return f"{type(error).__name__}{code}"
