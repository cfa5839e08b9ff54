"""Mail over a real SMTP server on this machine, and into the outbox: it arrives, or is tried again, or is refused, and nobody waits."""

import asyncio
import socket
import stat
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from ssl import PROTOCOL_TLS_SERVER, SSLContext
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session
from pydantic import SecretStr
from structlog.testing import capture_logs

from protocol.errors import Refusal, RefusalCode
from server import mail as mail_module
from server.config import MailConfig
from server.mail import ADDRESS_CHARS_MAX, OUTBOX, Mailer, checked_address, letters_in
from server.tasks import supervise

WAIT_S = 60.0
ADA = "ada@example.org"
SUBJECT, TEXT = "Your code \U0001f333", "The code is 123-456.\nIt is good for an hour.\n"


class Post:
    """What a mail server does with each letter: `answers` in their order, then 250 for all that come."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.letters: list[tuple[list[str], EmailMessage]] = []
        self.attempts = 0

    async def handle_DATA(self, _: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.attempts += 1
        if self.answers:
            return self.answers.pop(0)
        assert isinstance(envelope.content, bytes)
        message = message_from_bytes(envelope.content, policy=policy.SMTP)
        assert isinstance(message, EmailMessage)
        self.letters.append((envelope.rcpt_tos, message))
        return "250 taken"


class Choosy(Post):
    """Refuses recipients instead."""

    async def handle_RCPT(  # noqa: N802
        self, _: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        self.attempts += 1
        if self.answers:
            return self.answers.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 fine"


@contextmanager
def mail_server(post: Post, port: int = 0, **options: Any) -> Iterator[int]:
    """A real one, in a thread of its own; its port."""
    port = port or free_port()
    controller = Controller(post, hostname="127.0.0.1", port=port, **options)
    controller.start()
    try:
        yield port
    finally:
        controller.stop()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


def by(port: int, **changes: Any) -> MailConfig:
    settings: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": port,
        "starttls": False,
        "from_address": "world@example.org",
    }
    return MailConfig(**(settings | changes))


@asynccontextmanager
async def mailing(config: MailConfig, data: Path) -> AsyncIterator[Mailer]:
    mailer = Mailer(config, data)
    broken: list[str] = []
    for task in mailer.start():
        supervise(task, lambda part, error: broken.append(f"{part}: {error!r}"))
    yield mailer
    await mailer.stop(WAIT_S)
    assert not broken


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not holds():  # noqa: ASYNC110 (a thread's mail server counts)
            await asyncio.sleep(0.005)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail_module.Letter.__init__, "__defaults__", (mail_module.PAUSE_S_MIN / 100,))


# --- to a mail server --------------------------------------------------------------------------------------


async def test_a_letter_arrives_as_it_was_written(tmp_path: Path) -> None:
    post = Post()
    with mail_server(post) as port:
        async with mailing(by(port), tmp_path) as mailer:
            mailer.send(ADA, SUBJECT, TEXT)
            await until(lambda: mailer.sent == 1)
    [(recipients, letter)] = post.letters
    assert recipients == [letter["To"]] == [ADA]
    assert (letter["From"], letter["Subject"]) == ("world@example.org", SUBJECT)
    assert letter.get_content().replace("\r\n", "\n") == TEXT
    assert letter["Auto-Submitted"] == "auto-generated"
    assert letter["Date"]
    assert letter["Message-ID"].endswith("@example.org>")
    assert mailer.waiting == 0
    assert not list(tmp_path.iterdir())  # nothing is left of it here


@pytest.mark.parametrize(
    ("post", "reason"),
    [
        (Post("554 no such thing for ada@example.org"), "the content, 554"),
        (Choosy("550 ada@example.org is nobody here"), "the recipient, 550"),
    ],
    ids=["the letter", "the recipient"],
)
async def test_what_a_mail_server_refuses_for_good_is_not_tried_again(
    tmp_path: Path, post: Post, reason: str
) -> None:
    with mail_server(post) as port, capture_logs() as logs:
        async with mailing(by(port), tmp_path) as mailer:
            mailer.send(ADA, SUBJECT, TEXT)
            await until(lambda: mailer.undeliverable == 1)
            mailer.send("bea@example.org", SUBJECT, TEXT)
            await until(lambda: mailer.sent == 1)
    assert post.attempts == 1 + len(post.letters) + isinstance(post, Choosy)
    assert {"event": "mail_refused", "reason": reason, "log_level": "info"} in logs
    assert "example.org" not in str(logs)


@pytest.mark.parametrize(
    "post",
    [Post(*["451 later"] * 3), Choosy(*["450 greylisted ada@example.org"] * 3)],
    ids=["the letter", "the recipient"],
)
async def test_what_a_mail_server_does_not_take_now_is_tried_again_after_growing_pauses(
    tmp_path: Path, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    with mail_server(post) as port, capture_logs() as logs:
        async with mailing(by(port), tmp_path) as mailer:
            real = mailer._loop.call_later

            def call_later(delay_s: float, *rest: Any) -> asyncio.TimerHandle:
                if rest[0].__name__ == "again":
                    pauses.append(delay_s)
                return real(delay_s, *rest)

            monkeypatch.setattr(mailer, "_loop", _Loop(mailer._loop, call_later))
            mailer.send(ADA, SUBJECT, TEXT)
            await until(lambda: mailer.sent == 1)
    assert pauses == [0.01, 0.02, 0.04]
    assert [one["event"] for one in logs] == ["mail_put_off", "mail_goes_again"]  # a trouble is told once
    assert "example.org" not in str(logs)


class _Loop:
    """A loop whose pauses are seen."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, call_later: Callable[..., asyncio.TimerHandle]
    ) -> None:
        self.time = loop.time
        self.call_later = call_later


async def test_a_mail_server_that_is_dead_loses_nothing_and_gets_all_when_it_is_back(tmp_path: Path) -> None:
    port = free_port()
    async with mailing(by(port), tmp_path) as mailer:
        with capture_logs() as logs:
            for number in range(10):
                mailer.send(f"p{number}@example.org", SUBJECT, TEXT)
            await until(lambda: bool(logs))
        assert mailer.waiting == 10
        with mail_server(post := Post(), port):
            await until(lambda: mailer.sent == 10)
    assert sorted(recipient for recipients, _ in post.letters for recipient in recipients) == [
        f"p{number}@example.org" for number in range(10)
    ]


async def test_a_mail_server_that_hangs_holds_up_each_attempt_for_so_long_and_no_longer(
    tmp_path: Path,
) -> None:
    """Guard: mail.attempt_s. It takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as deaf, capture_logs() as logs:
        config = by(deaf.getsockname()[1], attempt_s=0.2, give_up_s=1)
        async with mailing(config, tmp_path) as mailer:
            mailer.send(ADA, SUBJECT, TEXT)
            await until(lambda: mailer.given_up == 1)
    assert mailer.waiting == 0
    assert logs[-1]["event"] == "mail_given_up"


async def test_a_letter_that_waits_for_its_next_attempt_holds_up_no_other(tmp_path: Path) -> None:
    """Guard: _put_off gives the sender free. More letters than SENDERS are greylisted, and the next one passes them."""

    class Greylist(Choosy):
        async def handle_RCPT(self, *arguments: Any) -> str:  # noqa: N802
            if "grey" in arguments[3]:
                return "450 later"
            return await super().handle_RCPT(*arguments)

    with mail_server(post := Greylist()) as port:
        async with mailing(by(port, give_up_s=2), tmp_path) as mailer:
            for number in range(2 * mail_module.SENDERS):
                mailer.send(f"grey{number}@example.org", SUBJECT, TEXT)
            mailer.send(ADA, SUBJECT, TEXT)
            await until(lambda: mailer.sent == 1)
            assert mailer.given_up == 0
    assert [recipients for recipients, _ in post.letters] == [[ADA]]


async def test_more_than_may_wait_is_refused(tmp_path: Path) -> None:
    """Guard: mail.queue_max. Letters that wait for another attempt count."""
    async with mailing(by(free_port(), queue_max=3), tmp_path) as mailer:
        for _ in range(3):
            mailer.send(ADA, SUBJECT, TEXT)
        with capture_logs() as logs:
            await until(lambda: bool(logs))
        with pytest.raises(Refusal) as refused:
            mailer.send(ADA, SUBJECT, TEXT)
        assert refused.value.code is RefusalCode.UNAVAILABLE
        assert refused.value.retry_after_ms
        assert mailer.waiting == 3


async def test_a_stop_carries_what_is_in_the_queue_and_counts_what_is_lost(tmp_path: Path) -> None:
    with mail_server(post := Post()) as port:
        mailer = Mailer(by(port), tmp_path)
        mailer.start()
        for _ in range(5):
            mailer.send(ADA, SUBJECT, TEXT)
        await mailer.stop(WAIT_S)
    assert len(post.letters) == 5
    with capture_logs() as logs:
        mailer = Mailer(by(free_port()), tmp_path)
        mailer.start()
        mailer.send(ADA, SUBJECT, TEXT)
        await mailer.stop(WAIT_S)
    assert logs[-1] == {"event": "mail_lost", "letters": 1, "log_level": "warning"}


async def test_a_server_without_starttls_gets_nothing(tmp_path: Path) -> None:
    """Guard: mail.starttls demands it. Codes and addresses do not go over the line for all to read."""
    with mail_server(post := Post()) as port, capture_logs() as logs:
        async with mailing(by(port, starttls=True, give_up_s=1), tmp_path) as mailer:
            mailer.send(ADA, SUBJECT, TEXT)
            await until(lambda: mailer.given_up == 1)
    assert post.attempts == 0
    assert "SMTPException" in logs[0]["reason"]


async def test_a_login_goes_over_an_encrypted_line_to_a_server_that_proves_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, tls = certified(tmp_path)
    logins: list[tuple[bytes, bytes]] = []

    def authenticate(server: SMTP, session: Session, *rest: Any) -> AuthResult:
        assert session.ssl is not None
        logins.append((rest[-1].login, rest[-1].password))
        return AuthResult(success=True)

    options: dict[str, Any] = {
        "tls_context": tls,
        "authenticator": authenticate,
        "auth_required": True,
        "require_starttls": True,
    }
    changes = {
        "host": "localhost",
        "starttls": True,
        "user": "world",
        "password": SecretStr("quiet please"),
        "give_up_s": 1,
    }
    with mail_server(post := Post(), **options) as port:
        with capture_logs() as logs:
            async with mailing(by(port, **changes), tmp_path) as stranger:
                stranger.send(ADA, SUBJECT, TEXT)
                await until(lambda: stranger.given_up == 1)
        assert logins == []  # nobody vouches for that certificate
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        async with mailing(by(port, **changes), tmp_path) as mailer:
            mailer.send(ADA, SUBJECT, TEXT)
            await until(lambda: mailer.sent == 1)
    assert logins == [(b"world", b"quiet please")]
    assert len(post.letters) == 1
    assert "quiet" not in str(logs) + repr(by(port, **changes))


def certified(place: Path) -> tuple[Path, SSLContext]:
    """A certificate for localhost that nobody has signed but itself."""
    key, certificate = place / "key.pem", place / "certificate.pem"
    command = f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout {key} -out {certificate}"
    subprocess.run(
        [*command.split(), "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True
    )
    tls = SSLContext(PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    return certificate, tls


# --- into the outbox ---------------------------------------------------------------------------------------


async def test_without_a_mail_server_letters_lie_in_the_outbox_for_their_owner_only(tmp_path: Path) -> None:
    async with mailing(MailConfig(), tmp_path) as mailer:
        mailer.send(ADA, SUBJECT, TEXT)
        mailer.send("bea@example.org", SUBJECT, TEXT)
        await until(lambda: mailer.sent == 2)
    outbox = tmp_path / OUTBOX
    assert stat.S_IMODE(outbox.stat().st_mode) == 0o700
    letters = [message_from_bytes(path.read_bytes(), policy=policy.SMTP) for path in letters_in(outbox)]
    assert {letter["To"] for letter in letters} == {ADA, "bea@example.org"}
    assert letters[0].get_content().replace("\r\n", "\n") == TEXT
    assert {stat.S_IMODE(path.stat().st_mode) for path in outbox.iterdir()} == {0o600}
    assert {path.suffix for path in outbox.iterdir()} == {".eml"}


async def test_the_outbox_keeps_the_newest(tmp_path: Path) -> None:
    """Guard: mail.outbox_files_max."""
    async with mailing(MailConfig(outbox_files_max=3), tmp_path) as mailer:
        for number in range(6):
            mailer.send(f"p{number}@example.org", SUBJECT, TEXT)
            await until(lambda: mailer.sent == number + 1)  # noqa: B023 (it is over before the next)
    kept = [message_from_bytes(path.read_bytes())["To"] for path in letters_in(tmp_path / OUTBOX)]
    assert sorted(kept) == [f"p{number}@example.org" for number in range(3, 6)]


async def test_an_outbox_that_cannot_be_written_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / OUTBOX).write_text("a file is in the way")
    async with mailing(MailConfig(), tmp_path) as mailer:
        with capture_logs() as logs:
            mailer.send(ADA, SUBJECT, TEXT)
            await until(lambda: bool(logs))
        (tmp_path / OUTBOX).unlink()
        await until(lambda: mailer.sent == 1)
    assert len(letters_in(tmp_path / OUTBOX)) == 1


# --- addresses ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "taken"),
    [
        (ADA, ADA),
        ("Ada.Love+world@Example.ORG", "Ada.Love+world@example.org"),
        ("o'hara@example.org", "o'hara@example.org"),
        ("ada@bücher.example", "ada@xn--bcher-kva.example"),
        ("ada@localhost", "ada@localhost"),
        ("a" * 64 + "@example.org", "a" * 64 + "@example.org"),
    ],
)
def test_addresses_are_taken_as_mail_servers_take_them(address: str, taken: str) -> None:
    assert checked_address(address) == taken


@pytest.mark.parametrize(
    "address",
    [
        "",
        "ada",
        "@example.org",
        "ada@",
        "a@b@example.org",
        "ada@example.org, bea@example.org",
        "ada@example.org\r\nBcc: bea@example.org",
        "ada\r\nBcc: bea@example.org",
        "ada@example.org\nX: 1",
        "ada@exa mple.org",
        "ada lovelace@example.org",
        "<ada@example.org>",
        "Ada <ada@example.org>",
        '"ada"@example.org',
        "ada@[127.0.0.1]",
        "ada@example..org",
        ".ada@example.org",
        "a..a@example.org",
        "ada\0@example.org",
        "\u0430da@example.org",
        "ada@\ud800.org",
        "a" * 65 + "@example.org",
        "ada@" + "a." * ADDRESS_CHARS_MAX + "org",
        "ada@" + "a" * 64 + ".org",
    ],
)
async def test_what_is_no_one_address_is_refused(tmp_path: Path, address: str) -> None:
    """Guard: checked_address. Else one letter goes to several people, or has other headers."""
    mailer = Mailer(MailConfig(), tmp_path)
    with pytest.raises(ValueError, match="address"):
        mailer.send(address, SUBJECT, TEXT)
    assert mailer.waiting == 0


def test_a_letter_shows_nothing_of_itself_where_it_is_printed() -> None:
    letter = mail_module.Letter(mail_module._message("world@example.org", ADA, SUBJECT, TEXT), ADA, 1.0)
    assert "ada" not in repr(letter)
