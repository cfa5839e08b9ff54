"""Who may send what: every message of a client, from everybody there is, over real sockets.

A cell of the matrix is a message and who sends it. What must come of it follows from the message's rule in the table (state, role);
what a rule cannot tell, what comes of it where the thing belongs to somebody else, is written in ENTRIES, beside how to send it so
that it is granted. A message without an entry fails the build, and with its entry it has a cell for everybody.

That no order of acts changes what is another's is tests/world/test_authorisation.py's; here each message is refused or granted by
itself, through all that stands between a socket and the rules.
"""

import itertools
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum

import msgspec
import pytest
from websockets.exceptions import ConnectionClosed

from persistence.keyring import Ring, read_ring
from protocol.edits import TILE_EDIT, pack
from protocol.errors import CloseCode, RefusalCode
from protocol.messages import (
    ACCOUNT_MESSAGES,
    CLIENT_MESSAGES,
    PLOT_TILES,
    PROTOCOL_VERSION,
    AccountChangePassword,
    AccountDelete,
    AccountEditProfile,
    AccountExport,
    AccountLogin,
    AccountLogout,
    AccountProfile,
    AccountRefresh,
    AccountRegister,
    AccountResetPassword,
    AccountRevoke,
    AccountSessions,
    AccountVerifyEmail,
    BanScope,
    ChatChannel,
    ChatSay,
    ChunkGet,
    ClientMessage,
    Hello,
    LandAbandon,
    LandAt,
    LandClaim,
    LandDescribe,
    LandEase,
    LandForSale,
    LandIn,
    LandLeave,
    LandLet,
    LandMerge,
    LandMine,
    LandOpen,
    LandPermit,
    LandPermits,
    LandQuote,
    LandRent,
    LandSplit,
    LandTake,
    LandToLet,
    LandTransfer,
    MarketAuction,
    MarketBid,
    MarketBuy,
    MarketCancel,
    MarketEdit,
    MarketList,
    ModerationBan,
    ModerationClose,
    ModerationKick,
    ModerationLift,
    ModerationMute,
    ModerationReports,
    Move,
    Moved,
    Offence,
    Ok,
    Ping,
    PlayerBlock,
    PlayerBlocks,
    PlayerFind,
    PlayerReport,
    PlayerUnblock,
    Pong,
    ReceiptGet,
    Refused,
    Role,
    Sanction,
    ServerMessage,
    SignedIn,
    Standing,
    State,
    TileEdit,
    TileUndo,
    Wallet,
    WalletStatement,
    Welcome,
    name_of,
)
from protocol.messages import Cut as CutLine
from server.auth import Signer
from server.keys import SIGNING_FILE
from server.session import ROLES
from tests.harness import Client, ServerProcess, serving
from tools.moderate import ask
from world.tiles import Build

SETTINGS = {
    "ACCOUNTS__ARGON2_MEMORY_KIB": 8,  # what a hash costs is not looked at here
    "WORLD__SPAWN_RADIUS": 2,
    "ECONOMY__STARTING_GRANT": 10**9,
    "LAND__LEASE_TERM_MIN_S": 3_600,
}
FAR_PLOTS = 2_000  # where nobody stands
APART_PLOTS = 4  # between two pieces of land
PRICE, TERM_MS = 700, 3_600_000
PLOT = (PLOT_TILES, PLOT_TILES)
LINES = itertools.count()  # of land: each scene has one of its own, and no claim can cut off another's
DAY_S = 86_400


class Who(Enum):
    """Everybody there is."""

    NO_LOGIN = "no login"
    GUEST = Role.GUEST.value
    USER = Role.USER.value
    MODERATOR = Role.MODERATOR.value
    ADMIN = Role.ADMIN.value
    EXPIRED = "expired token"
    REVOKED = "revoked session"
    ANOTHERS = "another's object"


IN_THE_WORLD = {Who(role.value): role for role in Role} | {Who.ANOTHERS: Role.USER}


@dataclass
class Scene:
    """Somebody and a neighbour, and land for them."""

    server: ServerProcess
    me: Client
    neighbour: Client
    line: int = field(default_factory=lambda: next(LINES))
    _px: Iterator[int] = field(default_factory=lambda: itertools.count(FAR_PLOTS, APART_PLOTS))

    def ids(self, client: Client | None = None) -> tuple[int, bytes]:
        """request_id and action_id."""
        return next((client or self.me).ids), os.urandom(16)

    async def free(self, plots: int = 1) -> tuple[int, int]:
        """The corner of a piece of nobody's land with ground on it."""
        while True:
            x, y = next(self._px) * PLOT_TILES, self.line * APART_PLOTS * PLOT_TILES
            answer = await self.me.ask(LandQuote(next(self.me.ids), x, y, plots * PLOT_TILES, PLOT_TILES))
            if isinstance(answer, Ok):
                return x, y
            assert answer.code is RefusalCode.BAD_REQUEST, answer  # only water

    async def land(self, owner: Client | None = None, plots: int = 1) -> tuple[int, int, int]:
        """parcel_id and corner of land that is mine, or the owner's."""
        owner = owner or self.me
        x, y = await self.free(plots)
        claimed = await self.done(owner, LandClaim(*self.ids(owner), x, y, plots * PLOT_TILES, PLOT_TILES))
        return claimed.result["parcel_id"], x, y

    async def mine(self) -> int:
        return (await self.land())[0]

    async def theirs(self) -> int:
        return (await self.land(self.neighbour))[0]

    async def done(self, client: Client, request: ClientMessage) -> Ok:
        """What the scene needs is granted."""
        answer = await client.ask(request)
        assert isinstance(answer, Ok), (request, answer)
        return answer


Make = Callable[[Scene], Awaitable[ClientMessage]]
ENTRIES: dict[type[ClientMessage], tuple[Make, Make | str, RefusalCode | None]] = {}
EVERYBODYS = "it names nothing that is one person's"


def entry(
    message: type[ClientMessage], anothers: Make | str, refused: RefusalCode | None = None
) -> Callable[[Make], Make]:
    """The function below makes a message that is granted. `anothers` makes one about what is another's, and that is refused so; in
    words, why there is none, and then it is granted as it is."""

    def keep(make: Make) -> Make:
        ENTRIES[message] = make, anothers, refused
        return make

    return keep


# --- how each is sent, and what comes of it where the thing is another's -------------------------------------------------------


async def forged(scene: Scene) -> ClientMessage:
    return Hello(PROTOCOL_VERSION, "tests", Signer(Ring.of(b"x" * 32)).access("Ada", time.time(), 1))


@entry(Hello, forged, RefusalCode.BAD_TOKEN)
async def _(scene: Scene) -> ClientMessage:
    return Hello(PROTOCOL_VERSION, "tests")


@entry(Ping, EVERYBODYS)
async def _(scene: Scene) -> ClientMessage:
    return Ping(7)


@entry(Move, "whoever sends it is who walks")
async def _(scene: Scene) -> ClientMessage:
    return Move(7, 0.0, 0.0)


@entry(ChunkGet, "the ground is everybody's")
async def _(scene: Scene) -> ClientMessage:
    return ChunkGet(7, 0, 0)


@entry(ChatSay, "whoever sends it is who speaks")
async def _(scene: Scene) -> ClientMessage:
    return ChatSay(7, ChatChannel.NEARBY, "hello")


@entry(PlayerFind, "names are public")
async def _(scene: Scene) -> ClientMessage:
    return PlayerFind(7, scene.neighbour.welcome.name)


def path(ids: tuple[int, bytes], x: int, y: int) -> TileEdit:
    return TileEdit(*ids, pack([(x, y, Build.FLOOR)], TILE_EDIT))


async def build_on_theirs(scene: Scene) -> ClientMessage:
    _, x, y = await scene.land(scene.neighbour)
    return path(scene.ids(), x, y)


@entry(TileEdit, build_on_theirs, RefusalCode.NOT_OWNER)
async def _(scene: Scene) -> ClientMessage:
    _, x, y = await scene.land()
    return path(scene.ids(), x, y)


async def undo_theirs(scene: Scene) -> ClientMessage:
    _, x, y = await scene.land(scene.neighbour)
    await scene.done(scene.neighbour, path(scene.ids(scene.neighbour), x, y))
    return TileUndo(*scene.ids())


@entry(TileUndo, undo_theirs, RefusalCode.NOT_FOUND)
async def _(scene: Scene) -> ClientMessage:
    _, x, y = await scene.land()
    await scene.done(scene.me, path(scene.ids(), x, y))
    return TileUndo(*scene.ids())


@entry(LandAt, "whose land it is, is public")
async def _(scene: Scene) -> ClientMessage:
    return LandAt(7, 0.0, 0.0)


@entry(LandIn, "whose land it is, is public")
async def _(scene: Scene) -> ClientMessage:
    return LandIn(7, 0, 0, 16, 16)


@entry(LandMine, "it is about who asks")
async def _(scene: Scene) -> ClientMessage:
    return LandMine(7)


@entry(LandForSale, "what is for sale is public")
async def _(scene: Scene) -> ClientMessage:
    return LandForSale(7)


@entry(LandToLet, "what is to let is public")
async def _(scene: Scene) -> ClientMessage:
    return LandToLet(7)


async def quote_theirs(scene: Scene) -> ClientMessage:
    _, x, y = await scene.land(scene.neighbour)
    return LandQuote(next(scene.me.ids), x, y, *PLOT)


@entry(LandQuote, quote_theirs, RefusalCode.TAKEN)
async def _(scene: Scene) -> ClientMessage:
    return LandQuote(7, *(await scene.free()), *PLOT)


async def claim_theirs(scene: Scene) -> ClientMessage:
    _, x, y = await scene.land(scene.neighbour)
    return LandClaim(*scene.ids(), x, y, *PLOT)


@entry(LandClaim, claim_theirs, RefusalCode.TAKEN)
async def _(scene: Scene) -> ClientMessage:
    return LandClaim(*scene.ids(), *(await scene.free()), *PLOT)


Land = Callable[[Scene, int], ClientMessage]  # a message about a parcel


def of_owners(message: type[ClientMessage], make: Land) -> None:
    """What its owner may do with a parcel, and nobody else."""

    async def with_mine(scene: Scene) -> ClientMessage:
        return make(scene, await scene.mine())

    async def with_theirs(scene: Scene) -> ClientMessage:
        return make(scene, await scene.theirs())

    ENTRIES[message] = with_mine, with_theirs, RefusalCode.NOT_OWNER


of_owners(LandDescribe, lambda scene, one: LandDescribe(*scene.ids(), one, "A garden", "With a gate."))
of_owners(LandOpen, lambda scene, one: LandOpen(*scene.ids(), one, True, False))
of_owners(
    LandPermit,
    lambda scene, one: LandPermit(*scene.ids(), one, scene.neighbour.player_id, Standing.VISITOR),
)
of_owners(LandPermits, lambda scene, one: LandPermits(next(scene.me.ids), one))
of_owners(LandTransfer, lambda scene, one: LandTransfer(*scene.ids(), one, scene.neighbour.player_id))
of_owners(LandAbandon, lambda scene, one: LandAbandon(*scene.ids(), one))
of_owners(MarketList, lambda scene, one: MarketList(*scene.ids(), one, PRICE))
of_owners(MarketAuction, lambda scene, one: MarketAuction(*scene.ids(), one, PRICE, TERM_MS))
of_owners(LandLet, lambda scene, one: LandLet(*scene.ids(), one, PRICE, TERM_MS))


async def split_theirs(scene: Scene) -> ClientMessage:
    parcel_id, x, _ = await scene.land(scene.neighbour, plots=2)
    return LandSplit(*scene.ids(), parcel_id, CutLine.VERTICAL, x + PLOT_TILES)


@entry(LandSplit, split_theirs, RefusalCode.NOT_OWNER)
async def _(scene: Scene) -> ClientMessage:
    parcel_id, x, _ = await scene.land(plots=2)
    return LandSplit(*scene.ids(), parcel_id, CutLine.VERTICAL, x + PLOT_TILES)


async def beside(scene: Scene, owner: Client) -> tuple[int, int]:
    """parcel_ids of my land and the land beside it, which is the owner's."""
    x, y = await scene.free(plots=2)
    mine = await scene.done(scene.me, LandClaim(*scene.ids(), x, y, *PLOT))
    other = await scene.done(owner, LandClaim(*scene.ids(owner), x + PLOT_TILES, y, *PLOT))
    return mine.result["parcel_id"], other.result["parcel_id"]


async def merge_theirs(scene: Scene) -> ClientMessage:
    return LandMerge(*scene.ids(), *(await beside(scene, scene.neighbour)))


@entry(LandMerge, merge_theirs, RefusalCode.NOT_OWNER)
async def _(scene: Scene) -> ClientMessage:
    return LandMerge(*scene.ids(), *(await beside(scene, scene.me)))


async def take_what_is_not_given(scene: Scene) -> ClientMessage:
    return LandTake(*scene.ids(), await scene.theirs())


@entry(LandTake, take_what_is_not_given, RefusalCode.CHANGED)
async def _(scene: Scene) -> ClientMessage:
    parcel_id = await scene.theirs()
    gift = LandTransfer(*scene.ids(scene.neighbour), parcel_id, scene.me.player_id)
    await scene.done(scene.neighbour, gift)
    return LandTake(*scene.ids(), parcel_id)


async def listed(scene: Scene, seller: Client) -> int:
    """A listing of a seller's land."""
    parcel_id, _, _ = await scene.land(seller)
    answer = await scene.done(seller, MarketList(*scene.ids(seller), parcel_id, PRICE))
    return int(answer.result["listing_id"])


def of_sellers(message: type[ClientMessage], make: Callable[[Scene, int], ClientMessage]) -> None:
    """What its seller may do with a listing, and nobody else."""

    async def with_mine(scene: Scene) -> ClientMessage:
        return make(scene, await listed(scene, scene.me))

    async def with_theirs(scene: Scene) -> ClientMessage:
        return make(scene, await listed(scene, scene.neighbour))

    ENTRIES[message] = with_mine, with_theirs, RefusalCode.NOT_OWNER


of_sellers(MarketEdit, lambda scene, one: MarketEdit(*scene.ids(), one, PRICE))
of_sellers(MarketCancel, lambda scene, one: MarketCancel(*scene.ids(), one))


async def buy_what_is_sold(scene: Scene) -> ClientMessage:
    listing_id = await listed(scene, scene.neighbour)
    await scene.done(scene.neighbour, MarketCancel(*scene.ids(scene.neighbour), listing_id))
    return MarketBuy(*scene.ids(), listing_id, PRICE)


@entry(MarketBuy, buy_what_is_sold, RefusalCode.ENDED)
async def _(scene: Scene) -> ClientMessage:
    return MarketBuy(*scene.ids(), await listed(scene, scene.neighbour), PRICE)


async def auctioned(scene: Scene) -> int:
    """An auction of the neighbour's land."""
    parcel_id, _, _ = await scene.land(scene.neighbour)
    asked = MarketAuction(*scene.ids(scene.neighbour), parcel_id, PRICE, TERM_MS)
    return int((await scene.done(scene.neighbour, asked)).result["auction_id"])


async def bid_for_what_is_taken_back(scene: Scene) -> ClientMessage:
    auction_id = await auctioned(scene)
    await scene.done(scene.neighbour, MarketCancel(*scene.ids(scene.neighbour), auction_id))
    return MarketBid(*scene.ids(), auction_id, PRICE)


@entry(MarketBid, bid_for_what_is_taken_back, RefusalCode.ENDED)
async def _(scene: Scene) -> ClientMessage:
    return MarketBid(*scene.ids(), await auctioned(scene), PRICE)


async def rent_what_is_not_to_let(scene: Scene) -> ClientMessage:
    return LandRent(*scene.ids(), await scene.theirs(), PRICE)


async def rented(scene: Scene, tenant: Client) -> int:
    """The parcel_id of the neighbour's land, or mine, that somebody rents."""
    owner = scene.neighbour if tenant is scene.me else scene.me
    parcel_id, _, _ = await scene.land(owner)
    await scene.done(owner, LandLet(*scene.ids(owner), parcel_id, PRICE, TERM_MS, None, True))
    return parcel_id


@entry(LandRent, rent_what_is_not_to_let, RefusalCode.CHANGED)
async def _(scene: Scene) -> ClientMessage:
    return LandRent(*scene.ids(), await rented(scene, scene.me), PRICE)


async def leave_theirs(scene: Scene) -> ClientMessage:
    """A lease between two others."""
    parcel_id = await scene.theirs()
    third = await Client.join(scene.server)
    await scene.done(
        scene.neighbour, LandLet(*scene.ids(scene.neighbour), parcel_id, PRICE, TERM_MS, None, True)
    )
    await scene.done(third, LandRent(*scene.ids(third), parcel_id, PRICE))
    await third.leave()
    return LandLeave(*scene.ids(), parcel_id)


@entry(LandLeave, leave_theirs, RefusalCode.NOT_OWNER)
async def _(scene: Scene) -> ClientMessage:
    parcel_id = await rented(scene, scene.me)
    await scene.done(scene.me, LandRent(*scene.ids(), parcel_id, PRICE))
    return LandLeave(*scene.ids(), parcel_id)


async def ease_theirs(scene: Scene) -> ClientMessage:
    return LandEase(*scene.ids(), *(await scene.land(scene.neighbour)), *PLOT)


@entry(LandEase, ease_theirs, RefusalCode.NOT_OWNER)
async def _(scene: Scene) -> ClientMessage:
    return LandEase(*scene.ids(), *(await scene.land()), *PLOT)


@entry(Wallet, "it is about who asks")
async def _(scene: Scene) -> ClientMessage:
    return Wallet(7)


@entry(WalletStatement, "it is about who asks")
async def _(scene: Scene) -> ClientMessage:
    return WalletStatement(7)


async def receipt(scene: Scene, owner: Client) -> ClientMessage:
    x, y = await scene.free()
    claimed = await scene.done(owner, LandClaim(*scene.ids(owner), x, y, *PLOT))
    return ReceiptGet(next(scene.me.ids), claimed.seq)


async def receipt_of_theirs(scene: Scene) -> ClientMessage:
    return await receipt(scene, scene.neighbour)


@entry(ReceiptGet, receipt_of_theirs, RefusalCode.NOT_FOUND)
async def _(scene: Scene) -> ClientMessage:
    return await receipt(scene, scene.me)


# --- accounts ---

PASSWORD, NEW_PASSWORD = "seven horses on a roof", "a boat full of lanterns"


def registering(name: str = "") -> AccountRegister:
    return AccountRegister(7, os.urandom(16), name or f"Ann {next(LINES)}", "", PASSWORD)


async def account(server: ServerProcess, name: str = "") -> SignedIn:
    """Somebody new."""
    client = await Client.open(server)
    answer = await client.ask(registering(name))
    assert isinstance(answer, Ok)
    await client.leave()
    return msgspec.convert(answer.result, SignedIn)


async def register_in_the_world(scene: Scene) -> ClientMessage:
    return registering()


@entry(AccountRegister, register_in_the_world, RefusalCode.FORBIDDEN)
async def _(scene: Scene) -> ClientMessage:
    return registering()


async def guess(scene: Scene) -> ClientMessage:
    return AccountLogin(7, (await account(scene.server)).name, NEW_PASSWORD)


@entry(AccountLogin, guess, RefusalCode.BAD_CREDENTIALS)
async def _(scene: Scene) -> ClientMessage:
    return AccountLogin(7, (await account(scene.server)).name, PASSWORD)


async def refresh_by_access(scene: Scene) -> ClientMessage:
    return AccountRefresh(7, (await account(scene.server)).access_token)


@entry(AccountRefresh, refresh_by_access, RefusalCode.BAD_TOKEN)
async def _(scene: Scene) -> ClientMessage:
    return AccountRefresh(7, (await account(scene.server)).refresh_token)


@entry(AccountLogout, "it is about who asks")
async def _(scene: Scene) -> ClientMessage:
    return AccountLogout(7)


@entry(AccountChangePassword, "it is about who asks")
async def _(scene: Scene) -> ClientMessage:
    return AccountChangePassword(7, PASSWORD, NEW_PASSWORD)


@entry(AccountSessions, "it is about who asks")
async def _(scene: Scene) -> ClientMessage:
    return AccountSessions(7)


async def revoke_theirs(scene: Scene) -> ClientMessage:
    theirs = await Client.join(scene.server, (await account(scene.server)).access_token)
    (session,) = (await scene.done(theirs, AccountSessions(7))).result["sessions"]
    await theirs.leave()
    return AccountRevoke(7, session["session_id"])


@entry(AccountRevoke, revoke_theirs, RefusalCode.NOT_FOUND)
async def _(scene: Scene) -> ClientMessage:
    return AccountRevoke(7)


@entry(AccountProfile, "what it tells of others is public")
async def _(scene: Scene) -> ClientMessage:
    return AccountProfile(7, scene.neighbour.player_id)


async def take_their_name(scene: Scene) -> ClientMessage:
    return AccountEditProfile(7, scene.neighbour.welcome.name)


@entry(AccountEditProfile, take_their_name, RefusalCode.NAME_TAKEN)
async def _(scene: Scene) -> ClientMessage:
    return AccountEditProfile(7, f"Bea {next(LINES)}", 7, "I keep bees.")


@entry(AccountVerifyEmail, "it is about who asks")
async def _(scene: Scene) -> ClientMessage:
    return AccountVerifyEmail(7)


async def reset_theirs(scene: Scene) -> ClientMessage:
    return AccountResetPassword(7, "ann@example.org", "AAAA-AAAA-AAAA", NEW_PASSWORD)


@entry(AccountResetPassword, reset_theirs, RefusalCode.BAD_CREDENTIALS)
async def _(scene: Scene) -> ClientMessage:
    return AccountResetPassword(7, "ann@example.org")


@entry(AccountExport, "it is about who asks")
async def _(scene: Scene) -> ClientMessage:
    return AccountExport(7, 0)


@entry(AccountDelete, "it is about who asks")
async def _(scene: Scene) -> ClientMessage:
    return AccountDelete(7, PASSWORD)


# --- moderation ---

ABOVE_USERS = "whom a moderator may act upon hangs on both their roles: tests/integration/test_moderation.py"


@entry(ModerationMute, ABOVE_USERS)
async def _(scene: Scene) -> ClientMessage:
    return ModerationMute(*scene.ids(), scene.neighbour.player_id, "shouting", 5)


@entry(ModerationKick, ABOVE_USERS)
async def _(scene: Scene) -> ClientMessage:
    return ModerationKick(*scene.ids(), scene.neighbour.player_id, "shouting")


@entry(ModerationBan, ABOVE_USERS)
async def _(scene: Scene) -> ClientMessage:
    return ModerationBan(*scene.ids(), scene.neighbour.player_id, BanScope.PLAYER, "shouting", 5)


@entry(ModerationLift, ABOVE_USERS)
async def _(scene: Scene) -> ClientMessage:
    judge = await Client.join(scene.server, token(scene.server, Role.ADMIN))
    await scene.done(judge, ModerationMute(*scene.ids(judge), scene.neighbour.player_id, "shouting"))
    await judge.leave()
    return ModerationLift(*scene.ids(), scene.neighbour.player_id, Sanction.MUTE, "calm again")


@entry(PlayerReport, "it is about somebody else always")
async def _(scene: Scene) -> ClientMessage:
    return PlayerReport(*scene.ids(), scene.neighbour.player_id, Offence.SPAM, "")


@entry(ModerationReports, "every moderator sees all of them")
async def _(scene: Scene) -> ClientMessage:
    return ModerationReports(7, False)


@entry(ModerationClose, "every moderator may close any that is not about themselves: test_moderation.py")
async def _(scene: Scene) -> ClientMessage:
    report = PlayerReport(*scene.ids(scene.neighbour), scene.me.player_id, Offence.OTHER, "")
    if scene.me.welcome.role in (Role.MODERATOR, Role.ADMIN):
        third = await Client.join(scene.server)
        report = PlayerReport(*scene.ids(scene.neighbour), third.player_id, Offence.OTHER, "")
        await third.leave()
    filed = await scene.done(scene.neighbour, report)
    return ModerationClose(*scene.ids(), filed.result["report_id"], "seen to")


@entry(PlayerBlock, "it changes nothing for the other")
async def _(scene: Scene) -> ClientMessage:
    return PlayerBlock(*scene.ids(), scene.neighbour.player_id)


@entry(PlayerUnblock, "it changes nothing for the other")
async def _(scene: Scene) -> ClientMessage:
    return PlayerUnblock(*scene.ids(), scene.neighbour.player_id)


@entry(PlayerBlocks, "it is about who asks")
async def _(scene: Scene) -> ClientMessage:
    return PlayerBlocks(7)


# --- what must come of it, and what does -----------------------------------------------------------------------------------------

Outcome = RefusalCode | CloseCode | None  # None: it is granted
CELLS = list(itertools.product(CLIENT_MESSAGES, Who))


def expected(message: type[ClientMessage], who: Who) -> Outcome:
    """By the table and the entry."""
    if who is Who.REVOKED and message is not Hello:
        return CloseCode.REVOKED
    if who in (Who.EXPIRED, Who.REVOKED):
        return RefusalCode.BAD_TOKEN
    _, anothers, refused = ENTRIES[message]
    state = (
        State.NEW if who not in IN_THE_WORLD or (who is Who.ANOTHERS and message is Hello) else State.PLAYING
    )
    if state not in message.rule.states:
        return CloseCode.POLICY_VIOLATION
    if ROLES.index(IN_THE_WORLD.get(who, Role.GUEST)) < ROLES.index(message.rule.role):
        return RefusalCode.NOT_ALLOWED
    if message is AccountRegister and IN_THE_WORLD.get(who, Role.GUEST) is not Role.GUEST:
        return RefusalCode.FORBIDDEN  # they have an account
    return refused if who is Who.ANOTHERS and not isinstance(anothers, str) else None


async def outcome(client: Client, message: ClientMessage, *before: ClientMessage) -> Outcome:
    """Sends it and waits for what comes of it; a grant has the shape that the table promises."""
    request_id = getattr(message, "request_id", None)

    def answers(told: ServerMessage) -> bool:
        match told:
            case Refused():
                return told.request_id in (0, request_id)
            case Ok():
                return told.request_id == request_id
            case Moved(seq):
                return isinstance(message, Move) and seq == message.seq
            case Pong(nonce):
                return isinstance(message, Ping) and nonce == message.nonce
        return isinstance(told, Welcome) and isinstance(message, Hello)

    try:
        await client.send(*before, message)
        told = await client.wait(ServerMessage, answers)
    except ConnectionClosed:
        assert not list(filter(answers, client.seen))
        return CloseCode(client.socket.close_code or 0)
    if isinstance(told, Refused):
        return told.code
    if message.rule.result is not None:
        assert isinstance(told, Ok)
        msgspec.convert(told.result, message.rule.result)
    return None


def token(server: ServerProcess, role: Role, age_s: float = 0) -> str:
    signer = Signer(read_ring(server.data / SIGNING_FILE))
    return signer.access(f"{role.value}-{next(LINES)}", time.time() - age_s, 1, role)


async def account_token(server: ServerProcess, role: Role) -> str:
    """Of somebody with a password, whom who runs the server has given a role."""
    made = await account(server)
    give(server, made, role)
    return made.access_token


def give(server: ServerProcess, made: SignedIn, role: Role) -> None:
    """A role, as who runs the server gives it."""
    answer = ask(server.data, {"do": "role", "player": made.name, "role": role.value, "reason": "to see"})
    assert answer["ok"] or role is Role.USER, answer


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with serving(settings=SETTINGS) as server:
        yield server


def test_every_message_of_the_table_has_an_entry(capsys: pytest.CaptureFixture[str]) -> None:
    assert ENTRIES.keys() == set(CLIENT_MESSAGES), "say in ENTRIES how a new message is sent, and who may not"
    for _, anothers, refused in ENTRIES.values():
        assert isinstance(anothers, str) == (refused is None)
    with capsys.disabled():
        print(f"authorisation: {len(CLIENT_MESSAGES)} messages x {len(Who)} senders = {len(CELLS)} cells")  # noqa: T201 (to be seen in the log of the build)


@pytest.mark.parametrize(
    ("message", "who"), CELLS, ids=[f"{name_of(message)}-{who.value}" for message, who in CELLS]
)
async def test_a_message_is_granted_to_those_whom_its_rule_names_and_to_nobody_else(
    server: ServerProcess, message: type[ClientMessage], who: Who
) -> None:
    """Guards: state and role in Session.receive, tokens in Signer._check, and the rules of what is whose in world/."""
    make, anothers, _ = ENTRIES[message]
    if who is Who.ANOTHERS and not isinstance(anothers, str):
        make = anothers
    neighbour = await Client.join(server, token(server, Role.USER))
    if who in IN_THE_WORLD and message is not Hello:
        maker = me = await enter(server, message, IN_THE_WORLD[who])
        sent, before = await make(Scene(server, me, neighbour)), list[ClientMessage]()
    else:
        maker = await Client.join(server)
        sent = await make(Scene(server, maker, neighbour))
        me, before = await stay_out(server, message, who)
        if who in (Who.EXPIRED, Who.REVOKED) and message is Hello:
            (sent,), before = before, []
    assert await outcome(me, sent, *before) == expected(message, who)
    for client in {neighbour, me, maker}:
        await client.leave()


async def enter(server: ServerProcess, message: type[ClientMessage], role: Role) -> Client:
    """Somebody of this role in the world."""
    if role is Role.GUEST:
        return await Client.join(server)
    of_account = message in ACCOUNT_MESSAGES
    return await Client.join(server, await account_token(server, role) if of_account else token(server, role))


async def stay_out(
    server: ServerProcess, message: type[ClientMessage], who: Who
) -> tuple[Client, list[ClientMessage]]:
    """A connection of somebody who is not in the world, or not any more, and what they say before the message."""
    if who is Who.EXPIRED:
        stale = token(server, Role.ADMIN, age_s=2 * DAY_S)
        return await Client.open(server), [Hello(PROTOCOL_VERSION, "tests", stale)]
    if who is Who.REVOKED:
        return await revoked(server, message)
    if who is Who.NO_LOGIN or (message is Hello and who is Who.ANOTHERS):
        return await Client.open(server), []
    return await enter(server, message, IN_THE_WORLD[who]), []


async def revoked(server: ServerProcess, message: type[ClientMessage]) -> tuple[Client, list[ClientMessage]]:
    """An admin whose session has ended a moment ago: their connection, or their hello."""
    made = await account(server)
    give(server, made, Role.ADMIN)
    me = await Client.open(server) if message is Hello else await Client.join(server, made.access_token)
    thief = await Client.open(server)
    for again in (False, True):  # a refresh token that comes twice ends its session
        answer = await thief.ask(AccountRefresh(7, made.refresh_token))
        assert isinstance(answer, Refused) == again
    await thief.leave()
    return me, [Hello(PROTOCOL_VERSION, "tests", made.access_token)] if message is Hello else []
