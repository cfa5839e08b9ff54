"""What /metrics says of the running parts, as two tables: name, meaning, and where the number is."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from persistence.flusher import Flusher
from persistence.journal import Journal
from persistence.store import WorldRow
from server.accounts import Accounts
from server.chunks import Chunks
from server.gateways import Gateways
from server.hub import Hub
from server.loop import Loop
from server.mail import Mailer
from server.telemetry import Telemetry
from world.commands import Inbox
from world.ledger import HOUSE, TREASURY
from world.state import State


@dataclass(slots=True)
class World:
    """The running parts that a stop, or a look at the numbers, needs."""

    row: WorldRow
    state: State
    flusher: Flusher
    journal: Journal
    chunks: Chunks
    hub: Hub
    loop: Loop
    inbox: Inbox
    accounts: Accounts
    mailer: Mailer
    gateways: Gateways | None = None  # in whose processes the connections live, if not in this one


Row = tuple[str, str, Callable[[World], float]]

GAUGES: tuple[Row, ...] = (
    (
        "landworld_players",
        "Players in the world, those with a lost line included.",
        lambda w: len(w.state.players),
    ),
    ("landworld_players_detached", "Players whose line is lost.", lambda w: len(w.state.detached)),
    ("landworld_players_moving", "Players who walk.", lambda w: w.loop.moving),
    (
        "landworld_gateways",
        "Gateway processes that take connections.",
        lambda w: w.gateways.running if w.gateways else 0,
    ),
    (
        "landworld_gateway_ticks_behind",
        "Ticks the slowest gateway was given and is not done with.",
        lambda w: w.gateways.behind_ticks if w.gateways else 0,
    ),
    ("landworld_connections", "Open connections.", lambda w: len(w.hub)),
    ("landworld_tick", "The tick of the world.", lambda w: w.state.tick),
    ("landworld_epoch", "How often this world was opened.", lambda w: w.row.epoch),
    ("landworld_inbox_commands", "Commands waiting for the next tick.", lambda w: len(w.inbox)),
    ("landworld_sign_ins_waiting", "Hellos waiting for the database.", lambda w: w.hub.directory.waiting),
    (
        "landworld_actions_waiting",
        "Durable requests that have not entered the tick.",
        lambda w: w.hub.actions.waiting,
    ),
    (
        "landworld_moderation_waiting",
        "Reports, blocks and acts of moderators that are not begun.",
        lambda w: w.hub.moderation.waiting,
    ),
    ("landworld_mutes", "Players who may not speak.", lambda w: w.hub.moderation.muted),
    ("landworld_bans", "Players who are kept out.", lambda w: w.hub.moderation.banned),
    ("landworld_reports_open", "Reports that wait for a moderator.", lambda w: w.hub.moderation.reports_open),
    (
        "landworld_account_requests",
        "Requests about accounts that are worked at.",
        lambda w: w.accounts.working,
    ),
    ("landworld_hashes_waiting", "Passwords that wait to be hashed.", lambda w: w.accounts.hasher.waiting),
    ("landworld_journal_entries", "Entries of the journal not known to be stored.", lambda w: len(w.journal)),
    ("landworld_journal_bytes", "Bytes of those entries.", lambda w: w.journal.bytes),
    (
        "landworld_journal_lag_seconds",
        "How long the oldest of them has waited.",
        lambda w: w.journal.lag_s(w.hub.now_s()),
    ),
    ("landworld_journal_seq", "The last entry of the journal.", lambda w: w.state.seq),
    ("landworld_journal_durable_seq", "The last entry that is stored.", lambda w: w.journal.durable_seq),
    ("landworld_withheld", "What is told once its entry is stored.", lambda w: len(w.hub.withheld)),
    (
        "landworld_market_open",
        "0 once the books were found not to balance.",
        lambda w: float(not w.hub.actions.books.closed),
    ),
    ("landworld_parcels", "Parcels with an owner.", lambda w: len(w.state.parcels)),
    (
        "landworld_listings_open",
        "Parcels that are for sale at a fixed price.",
        lambda w: len(w.state.sales) - w.state.sales.auctions,
    ),
    ("landworld_auctions_open", "Parcels that are in an auction.", lambda w: w.state.sales.auctions),
    ("landworld_accounts", "Accounts of the ledger.", lambda w: len(w.state.ledger.balances)),
    ("landworld_house_poisha", "What the house holds.", lambda w: w.state.ledger.balance(HOUSE)),
    (
        "landworld_granted_poisha",
        "What the treasury has given out.",
        lambda w: -w.state.ledger.balance(TREASURY),
    ),
    ("landworld_chunks_loaded", "Chunks of ground in the world.", lambda w: len(w.chunks)),
    ("landworld_chunks_waiting", "Chunks of ground to be made.", lambda w: w.chunks.waiting),
    ("landworld_ladder_step", "The server's step of the ladder.", lambda w: w.loop.overload.step),
    ("landworld_database_up", "Whether the last save worked.", lambda w: float(w.flusher.available)),
    (
        "landworld_redis_up",
        "Whether Redis answers; 1 where none is used.",
        lambda w: float(w.hub.neighbours is None or w.hub.neighbours.bus.up),
    ),
    (
        "landworld_redis_sure",
        "Whether it is known which sessions ended elsewhere; while 0, roles and money wait.",
        lambda w: float(w.hub.neighbours is None or w.hub.neighbours.bus.sure),
    ),
    (
        "landworld_redis_servers",
        "Other servers that share it.",
        lambda w: len(w.hub.neighbours.bus.servers) if w.hub.neighbours else 0,
    ),
    (
        "landworld_redis_waiting",
        "What other servers are to be told and are not yet.",
        lambda w: w.hub.neighbours.bus.waiting if w.hub.neighbours else 0,
    ),
    ("landworld_flush_seconds", "How long the last save took.", lambda w: w.flusher.last_flush_ms / 1000),
    ("landworld_flush_pending_positions", "Places not saved yet.", lambda w: w.flusher.pending_positions),
    ("landworld_flush_pending_chat", "Lines not saved yet.", lambda w: w.flusher.pending_chat),
    ("landworld_mail_waiting", "Letters on their way to the mail server.", lambda w: w.mailer.waiting),
)
TOTALS: tuple[Row, ...] = (
    (
        "landworld_sales_sold",
        "Parcels that were sold, at a fixed price or in an auction.",
        lambda w: w.state.sales.sold_total,
    ),
    ("landworld_bids", "Bids that counted.", lambda w: w.state.sales.bids_total),
    (
        "landworld_market_fees_poisha",
        "What of their prices went to the house.",
        lambda w: w.state.sales.fees_total,
    ),
    (
        "landworld_gateway_restarts",
        "Gateways that died, or had to.",
        lambda w: w.gateways.restarts if w.gateways else 0,
    ),
    ("landworld_journal_written", "Entries of the journal.", lambda w: w.journal.entries_total),
    (
        "landworld_admitted_actions",
        "Durable requests that entered the tick.",
        lambda w: w.hub.actions.admitted_total,
    ),
    (
        "landworld_repeated_actions",
        "Actions sent again that were stored before.",
        lambda w: w.hub.actions.repeated_total,
    ),
    (
        "landworld_books_checks",
        "How often everything in the ledger was added up anew.",
        lambda w: w.hub.actions.books.checks_total,
    ),
    (
        "landworld_redis_outages",
        "How often Redis went away.",
        lambda w: w.hub.neighbours.bus.outages_total if w.hub.neighbours else 0,
    ),
    (
        "landworld_redis_told",
        "What other servers were told.",
        lambda w: w.hub.neighbours.bus.told_total if w.hub.neighbours else 0,
    ),
    (
        "landworld_redis_heard",
        "What other servers told.",
        lambda w: w.hub.neighbours.bus.heard_total if w.hub.neighbours else 0,
    ),
    ("landworld_hashes", "Passwords that were hashed.", lambda w: w.accounts.hasher.hashed_total),
    ("landworld_locked_names", "Times a name was locked.", lambda w: w.accounts.lockouts.locked_total),
    ("landworld_chunks_made", "Chunks of ground made.", lambda w: w.chunks.made_total),
    ("landworld_flushes", "Saves that were committed.", lambda w: w.flusher.flushes_total),
    ("landworld_flush_failures", "Saves that failed.", lambda w: w.flusher.failures_total),
    ("landworld_mail_sent", "Letters that went out.", lambda w: w.mailer.sent),
    ("landworld_mail_undeliverable", "Letters the mail server refused.", lambda w: w.mailer.undeliverable),
    ("landworld_mail_given_up", "Letters that could not go out in time.", lambda w: w.mailer.given_up),
    ("landworld_chat_dropped", "Lines lost while the database was away.", lambda w: w.flusher.chat_dropped),
)


def show(telemetry: Telemetry, world: World) -> None:
    """Lets the telemetry ask the parts whenever somebody looks."""
    telemetry.tally = world.hub.tally
    for table, shown in ((GAUGES, telemetry.gauges), (TOTALS, telemetry.totals)):
        for name, text, number in table:
            shown[name] = text, partial(number, world)
    telemetry.gauges["landworld_chunk_cache_bytes"] = (
        "Packed ground kept to be sent.",
        lambda: world.chunks.cache_bytes + telemetry.latest.cache_bytes,
    )
    telemetry.by_label["landworld_moderation_acts"] = (
        "What moderators, players and the console did since the start.",
        "act",
        lambda: list(world.hub.moderation.acts.items()),
    )
    telemetry.by_label["landworld_sign_ins"] = (
        "Requests to sign in, by how they ended.",
        "outcome",
        lambda: list(world.accounts.sign_ins.items()),
    )
    telemetry.by_label["landworld_viewers"] = (
        "Clients on each step of the ladder.",
        "step",
        lambda: list(telemetry.latest.viewers.items()),
    )
