"""What is private is in no log, on no page and in no file of the database: done with known words, and then looked for everywhere."""

import asyncio
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from email import message_from_bytes
from email.policy import default
from pathlib import Path

import psutil
import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from persistence.keyring import read_ring
from protocol.errors import RefusalCode
from protocol.messages import (
    PROTOCOL_VERSION,
    AccountChangePassword,
    AccountExport,
    AccountLogin,
    AccountRefresh,
    AccountRegister,
    AccountResetPassword,
    AccountSessions,
    AccountVerifyEmail,
    ClientMessage,
    Hello,
    Ok,
    Refused,
    Welcome,
)
from server.keys import LOOKUP_FILE, SEALING_FILE, SIGNING_FILE
from server.mail import OUTBOX
from tests.harness import POLL_S, WAIT_S, Client, ServerProcess, serving
from tests.server.test_mail import Post, mail_server

ADDRESS = "203.0.113.77"
EMAIL = "quiet.heron.4711@mail.example.org"
OTHER_EMAIL = "loud.heron.4712@mail.example.org"
PASSWORD, WRONG, NEW = (
    "nobody else knows these words",
    "nor does anybody know those",
    "and these come after all that",
)
HEADERS = {"additional_headers": {"X-Forwarded-For": ADDRESS}}


class Talkative(Post):
    """A mail server that repeats what it is told where it refuses, as they do."""

    def __init__(self) -> None:
        super().__init__(f"451 <{EMAIL}> later, please")

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Later, then yes, then never."""
        answer = await super().handle_DATA(server, session, envelope)
        self.answers = self.answers or [f"554 nothing like that for <{envelope.rcpt_tos[0]}>"] * len(
            self.letters
        )
        return answer


@pytest.fixture
def data() -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="landworld-test-"))
    yield place
    shutil.rmtree(place, ignore_errors=True)


async def told(client: Client, request: ClientMessage) -> dict[str, object]:
    answer = await client.ask(request)
    assert isinstance(answer, Ok), answer
    result: dict[str, object] = answer.result
    return result


async def refused(client: Client, request: ClientMessage) -> RefusalCode:
    answer = await client.ask(request)
    assert isinstance(answer, Refused), answer
    for private in (EMAIL, PASSWORD, WRONG, ADDRESS):
        assert private not in answer.message
    return answer.code


class Story:
    """Everything that somebody does with an account, and what is private of it."""

    def __init__(self, server: ServerProcess, post: Talkative | None) -> None:
        self.server = server
        self.post = post
        self.name = f"Heron {secrets.token_hex(4)}"
        self.private = {EMAIL, OTHER_EMAIL, PASSWORD, WRONG, NEW, ADDRESS}

    async def run(self) -> None:
        stranger = await Client.open(self.server, **HEADERS)
        first = await told(stranger, AccountRegister(1, secrets.token_bytes(16), self.name, EMAIL, PASSWORD))
        second = await told(stranger, AccountLogin(2, self.name, PASSWORD))
        refreshed = await told(stranger, AccountRefresh(3, str(second["refresh_token"])))
        assert (
            await refused(stranger, AccountRefresh(4, str(second["refresh_token"])))
            is RefusalCode.TOKEN_REUSED
        )
        assert (
            await refused(stranger, AccountRefresh(5, str(first["refresh_token"])[:-8]))
            is RefusalCode.BAD_TOKEN
        )
        await stranger.leave()
        for tokens in (first, second, refreshed):
            self.private |= {str(tokens["access_token"]), str(tokens["refresh_token"])}
        await self.come_in_wrongly(str(first["access_token"])[:-8])
        await self.play(str(first["access_token"]))
        await self.guess()
        await self.without_a_database()

    async def come_in_wrongly(self, token: str) -> None:
        client = await Client.open(self.server, **HEADERS)
        await client.send(Hello(PROTOCOL_VERSION, "tests", token))
        await client.wait(Refused)
        await client.wait_closed()

    async def play(self, token: str) -> None:
        """In the world: a code by mail, another address, another password, all that is stored, and a line that is lost."""
        player = await Client.open(self.server, **HEADERS)
        await player.send(Hello(PROTOCOL_VERSION, "tests", token))
        player.welcome = await player.wait(Welcome)
        self.private.add(player.welcome.resume)
        code = await self.code()  # which went out when they registered
        self.private.add(code)
        assert await refused(player, AccountVerifyEmail(2, "AAAA-AAAA-AAAA")) is RefusalCode.BAD_CREDENTIALS
        await told(player, AccountVerifyEmail(3, code))
        sessions = await told(player, AccountSessions(4))
        assert ADDRESS in str(sessions)
        assert EMAIL.encode() in (await told(player, AccountExport(5, 0)))["part"]  # type: ignore[operator]
        assert (
            await refused(player, AccountVerifyEmail(6, None, "no address", PASSWORD))
            is RefusalCode.BAD_REQUEST
        )
        await told(player, AccountVerifyEmail(7, None, OTHER_EMAIL, PASSWORD))
        await told(player, AccountChangePassword(8, PASSWORD, NEW))
        player.socket.transport.abort()

    async def guess(self) -> None:
        """Until the name is locked; and codes for a forgotten password."""
        guesser = await Client.open(self.server, **HEADERS)
        found = [await refused(guesser, AccountLogin(number, self.name, WRONG)) for number in range(1, 8)]
        assert found[-1] is RefusalCode.LOCKED
        await told(guesser, AccountResetPassword(8, EMAIL))
        assert (
            await refused(guesser, AccountResetPassword(9, EMAIL, "AAAA-AAAA-AAAA", NEW))
            is RefusalCode.BAD_CREDENTIALS
        )
        await guesser.leave()

    async def without_a_database(self) -> None:
        """It is killed; what is asked meanwhile is logged as not served."""
        client = await Client.open(self.server, **HEADERS)
        pid = int((self.server.data / "postgres" / "postmaster.pid").read_text().split()[0])
        asked = 0
        for victim in (psutil.Process(pid), *psutil.Process(pid).children()):
            victim.kill()
        while True:
            asked += 1
            request = AccountRegister(asked, secrets.token_bytes(16), f"{self.name} {asked}", EMAIL, PASSWORD)
            answer = await client.ask(request)
            if isinstance(answer, Ok):
                break
            await asyncio.sleep((answer.retry_after_ms or 0) / 1_000)
        assert asked > 1
        await client.leave()

    async def code(self) -> str:
        """The one in the newest letter."""
        async with asyncio.timeout(WAIT_S):
            while not (letters := self.letters()):  # noqa: ASYNC110 (they go out beside the answer)
                await asyncio.sleep(POLL_S)
        found = re.search(r"\b\w{4}-\w{4}-\w{4}\b", letters[-1])
        assert found
        return found[0]

    def letters(self) -> list[str]:
        if self.post is not None:
            return [letter.get_content() for _, letter in self.post.letters]
        paths = sorted((self.server.data / OUTBOX).glob("*.eml"))
        return [message_from_bytes(path.read_bytes(), policy=default).get_content() for path in paths]


@pytest.mark.parametrize(
    ("gateways", "form", "by_smtp"),
    [(0, "console", False), (2, "json", True)],
    ids=["one process, outbox", "gateways, mail server"],
)
async def test_what_is_private_is_nowhere_to_be_read(
    data: Path, gateways: int, form: str, by_smtp: bool
) -> None:
    """Guards: no log line has it, mail servers' answers are not logged (mail.py), Letter and Key have no repr, columns are sealed."""
    settings: dict[str, object] = {
        "LOG__LEVEL": "debug",
        "LOG__FORMAT": form,
        "SERVER__GATEWAYS": gateways,
        "SERVER__TRUSTED_PROXIES": "127.0.0.1",
        "ACCOUNTS__ARGON2_MEMORY_KIB": 8,
        "LIMITS__RATES__ACCOUNT__PER_S": 1_000,
        "LIMITS__RATES__ACCOUNT__BURST": 5_000,
    }
    with ExitStack() as stack:
        post = Talkative() if by_smtp else None
        if post is not None:
            port = stack.enter_context(mail_server(post))
            settings |= {"MAIL__HOST": "127.0.0.1", "MAIL__PORT": port, "MAIL__STARTTLS": "false"}
        server = stack.enter_context(serving(data, settings))
        story = Story(server, post)
        await story.run()
        pages = await asyncio.to_thread(server.page, "/metrics")
        assert server.stop() == 0
    said = "\n".join(server.said)
    for event in ("refresh_token_reused", "connection_closed", "account_not_served"):
        assert event in said  # the trouble of which logs might tell too much was there
    keys = {key.secret.hex() for name in (SIGNING_FILE, SEALING_FILE) for key in read_ring(data / name).keys}
    keys.add((data / LOOKUP_FILE).read_bytes().hex())
    for private in (*story.private, *keys):
        assert private not in said, "in the log"
        assert private not in pages, "in /metrics"
    found = {name: where for name, where in stored(data, {story.name, *story.private}).items() if where}
    assert set(found) == {story.name}, found  # a name is public, so what is looked for can be found


def stored(data: Path, words: set[str]) -> dict[str, list[str]]:
    """In which files of the data directory each word stands; letters that nobody has fetched are what they are."""
    files = [path for path in data.rglob("*") if path.is_file() and path.parent.name != OUTBOX]
    contents = {str(path.relative_to(data)): path.read_bytes() for path in files}
    return {word: [name for name, content in contents.items() if word.encode() in content] for word in words}
