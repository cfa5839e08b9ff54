"""The other servers on our Redis: what they are told of this one, and what is done here on their word (persistence/bus.py).

    sessions that ended    their connections are closed here, too, and their tokens let nobody in
    wrong passwords        count here as they do there
    tokens of addresses    are taken from the buckets of all
    who is in              is asked when somebody looks for a player who is not here

Limits and lockouts go on by what is known here while Redis is away. Whether a session was ended elsewhere cannot be known then, so what
only a role may do, and what moves money, is refused until it can be (`may_be_over`); everything else goes on.
"""

from collections.abc import Callable, Iterable
from uuid import UUID

from persistence.bus import Bus, Channel
from persistence.store import account_key
from protocol.errors import Refusal, RefusalCode
from protocol.messages import Role
from server.accounts import Accounts
from server.actions import MARKET
from server.hub import Hub

RETRY_AFTER_MS = 2_000
ABOVE_USERS = (Role.MODERATOR, Role.ADMIN)


class Neighbours:
    """Joins the parts of this server to the bus."""

    def __init__(self, bus: Bus, hub: Hub, accounts: Accounts) -> None:
        self.bus = bus
        self._hub = hub
        self._accounts = accounts
        self._lockouts = accounts.lockouts
        bus.here = self._here
        for name, buckets in hub.buckets.items():
            bus.share(name, buckets)
        bus.share("failures", self._lockouts.addresses)
        bus.hear(Channel.ENDED, self._end_session)
        bus.hear(Channel.TRIES, self._take_try)
        self._lockouts.tell = self._tell_try
        accounts.tried_as = bus.pseudonym
        hub.neighbours = self

    def counted_as(self, network: str) -> str:
        """Under which name limits count an address, here and elsewhere."""
        return self.bus.pseudonym(network)

    def may_be_over(self, role: Role, request: object = None) -> Refusal | None:
        """Why this must wait: its session may have been ended elsewhere, and it is about money, or more than every user may."""
        if self.bus.sure or not (role in ABOVE_USERS or isinstance(request, MARKET)):
            return None
        text = "The server cannot see just now whether this session was ended elsewhere, so nothing was done; try again in a moment."
        return Refusal(RefusalCode.UNAVAILABLE, text, RETRY_AFTER_MS)

    def ended(self, sessions: Iterable[UUID]) -> None:
        """These sessions ended here."""
        for session_id in sessions:
            self.bus.tell(Channel.ENDED, session_id.hex)

    def find(self, name: str, answer: Callable[[bool], None]) -> None:
        """Answers whether a player of that name is in elsewhere."""
        self.bus.find(account_key(name), answer)

    def status(self) -> str:
        """What is wrong, for /ready; empty while nothing is."""
        if self.bus.sure:
            return ""
        return "away: local limits hold; roles and money wait" if not self.bus.up else "catching up"

    def _here(self) -> set[str]:
        return {caller.key for caller in self._hub.players.values() if caller.role is not Role.GUEST}

    def _end_session(self, text: str, _: float) -> None:
        session_id = UUID(text)
        self._accounts.lapse(session_id)
        self._hub.end_sessions({session_id})

    def _tell_try(self, name: str) -> None:
        self.bus.tell(Channel.TRIES, name)

    def _take_try(self, name: str, age_s: float) -> None:
        now_s = self._hub.now_s()
        self._lockouts.hear(name, now_s - age_s, now_s)
