"""Every setting of the server: its name, unit, default, range and meaning, once.

Sources, the later wins:

    the defaults below  <  the file (./config.toml, or the one LANDWORLD_CONFIG names)  <  LANDWORLD_* in the environment

`a.b` of the file is `LANDWORLD_A__B` in the environment. Rules:

- Units stand last in names: `_s`, `_ms`, `_hz`, `_tiles`, `_chunks`, `_cells`, `_bytes_max`, `_days`. What has no unit is a count.
- A wrong setting stops the start with a `ConfigError` that tells which setting, its value, what is expected and where it
  came from. All mistakes are told at once. Nothing is guessed, nothing unknown is passed over.
- Settings that must fit together are rows of `RELATIONS`; the message names both.
- Secrets come from the environment only. One in the file is refused, since files are shared and committed.
- config.toml is made from here: `python -m server.config > config.toml`; a test keeps the two equal.
"""

import difflib
import os
import re
import textwrap
import tomllib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args, get_origin
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from persistence.keyring import KEY_BYTES_MIN, KEYS_MAX
from protocol.codec import MESSAGES_PER_FRAME_MAX
from protocol.messages import BASIS_POINTS, CHAT_CHARS_MAX, LISTING_MS_MAX, MONEY_MAX
from protocol.snapshot import CELL_TILES, COUNT_MAX, STEP_MAX
from server.origins import SAME_HOST, check_origin
from server.words import words_of

ENV_PREFIX = "LANDWORLD_"
CONFIG_FILE = "config.toml"
CONFIG_FILE_ENV = "LANDWORLD_CONFIG"
CHAT_ENVELOPE_BYTES = 64  # what a chat message carries besides its text, rounded up
ENV_NESTED = "__"
NEAR_CHUNKS = 9  # 3 x 3: less than this, and somebody stands at the edge of the known world
UTF8_BYTES_PER_CHAR_MAX = 4
TOKEN_DAYS_MIN, TOKEN_DAYS_MAX = 0.01, 3_650
CRASH_LOSES_MS_MAX = 5_000  # the promise: no crash costs more walking and talk than this
HAND_OVER_MS = 1_000  # the loop hands places to the flusher so often
WRITE_MS = 500  # what one write to a healthy database may take


class ConfigError(Exception):
    """The settings cannot be used; `str(error)` is written for the person who starts the server."""


def span(unit: str, ge: float | None = None, le: float | None = None) -> Any:
    """The unit of a setting ("" for a bare count) and its range, both ends included."""
    return Field(json_schema_extra={"unit": unit}, ge=ge, le=le)


class Section(BaseModel):
    """A table of config.toml: frozen, and nothing unknown in it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: object, info: Any) -> object:
        if isinstance(value, bool) and cls.model_fields[info.field_name].annotation is not bool:
            raise ValueError("true and false do not fit here")
        return value


class ServerConfig(Section):
    """The game socket and the process behind it."""

    host: Annotated[str, span("address")] = "0.0.0.0"  # noqa: S104 - the reason is below
    """Where the game socket listens. 0.0.0.0 is every network of this machine, so that friends on the
    same network can join and a container can be reached; 127.0.0.1 keeps the world to this machine.
    """
    port: Annotated[int, span("", 0, 65535)] = 8765
    """Port of the game socket. 0 takes a free one and prints it."""
    origins: Annotated[tuple[str, ...], NoDecode] = (SAME_HOST,)
    """Web pages that may open the socket, each as a browser writes it: "https://example.org" (scheme, host, port
    if unusual), names of other scripts as "https://xn--mnchen-3ya.example". Each is one page; there are no patterns.
    "same-host" is a page that came by plain HTTP from http.port of the host name that the socket was reached by.
    Programs that are no browser send no origin and are let in. In the environment: divided by commas.
    """
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = ()
    """Reverse proxies in front of the game socket, each an address or a network, as "10.0.0.0/8". From these, and
    from nobody else, X-Forwarded-For says whose connection it is, and limits per address go by that. In the
    environment: divided by commas.
    """
    gateways: Annotated[int, span("processes", 0, 64)] = 0
    """Connections live in so many processes of their own, each of which can use a core; the world stays in one. 0
    keeps all in one process, which is best up to a few thousand players. Linux only.
    """
    guests_allowed: bool = True
    """Whether people may play without a token."""
    max_players: Annotated[int, span("players", 1, COUNT_MAX)] = 10_000
    """So many may be in the world at once; the next is refused with WORLD_FULL."""
    shutdown_s: Annotated[float, span("seconds", 1, 60)] = 5.0
    """The longest an orderly stop takes: clients told, everything saved, gone."""

    @field_validator("origins", "trusted_proxies", mode="before")
    @classmethod
    def _split_commas(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("origins")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if origin != SAME_HOST:
                check_origin(origin)
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            try:
                ip_network(network)
            except ValueError as error:
                raise ValueError(f'{error}: write an address, or a network like "10.0.0.0/8"') from None
        return value


class HttpConfig(Section):
    """The browser client, health and metrics."""

    host: Annotated[str, span("address")] = "0.0.0.0"  # noqa: S104 - as server.host
    """Where the pages are served; as server.host."""
    port: Annotated[int, span("", 0, 65535)] = 8080
    """Port of the browser client, /health, /ready and /metrics. 0 takes a free one and prints it."""
    connections_max: Annotated[int, span("connections", 8, 1_000_000)] = 512
    """Open at once; the next is answered 503."""
    connection_s: Annotated[int, span("seconds", 10, 86_400)] = 300
    """A connection lives so long at most, in the middle of a request too; browsers open another by themselves."""
    game_url: str = ""
    """Where browsers find the game socket behind a proxy, as "wss://world.example.org/"; server.origins must then
    name the page. Empty: on the host of the page, at server.port.
    """

    @field_validator("game_url")
    @classmethod
    def _is_websocket(cls, value: str) -> str:
        if value and (not value.startswith(("ws://", "wss://")) or not urlsplit(value).hostname):
            raise ValueError('write it like "wss://world.example.org/", or leave it empty')
        return value


class WorldConfig(Section):
    """The simulation and the ground under it."""

    seed: Annotated[int, span("", 0, 2**63 - 1)] = 20_260
    """The ground, the rivers and the woods follow from this number. A world that exists must be opened with
    its own; the start says so when it is not.
    """
    spawn_radius: Annotated[int, span("tiles", 0, 65_536)] = 48
    """New players appear at a random walkable place within so many tiles of (0, 0)."""
    tick_hz: Annotated[int, span("ticks a second", 5, 60)] = 20
    """How often the world steps. A world keeps what it began with, for its times are counted in ticks; the start
    says so when it is another.
    """
    walk_speed_tiles_per_s: Annotated[float, span("tiles a second", 0.1, 50)] = 4.0
    """Walking pace on good ground; woods, hills and fords are slower."""
    chunks_loaded_max: Annotated[int, span("chunks", 64, 4_194_304)] = 131_072
    """So much ground is kept ready for walking on: nine chunks for each player, should all walk alone. About
    1 KiB a chunk, taken only as people get about.
    """
    pregenerate_radius_chunks: Annotated[int, span("chunks", 1, 16)] = 3
    """Ground is made ready so far around each player before anyone asks for it."""
    pregenerate_ahead_chunks: Annotated[int, span("chunks", 0, 16)] = 3
    """And so far again beyond that in the direction they walk."""


class InterestConfig(Section):
    """Who is told of whom, and what is left out first when it is too much."""

    radius_cells: Annotated[int, span("cells of 32 x 32 tiles", 1, STEP_MAX)] = 1
    """How many rings of cells around one's own are seen. 1 is 3 x 3 cells."""
    client_bytes_per_s: Annotated[int, span("bytes a second", 4_096, 16_777_216)] = 65_536
    """The budget of one client. Over it, far cells are sent less often to that client, then its radius
    shrinks, then crowds become counts.
    """
    crowd_entities: Annotated[int, span("people", 1, 10_000)] = 64
    """On the ladder's last step a cell with more people than this is sent as a count."""
    raise_at_share: Annotated[float, span("share of a tick", 0.1, 1)] = 0.8
    """A tick busier than this puts the whole server one step up the ladder."""
    lower_at_share: Annotated[float, span("share of a tick", 0.05, 1)] = 0.5
    """Ticks quieter than this bring it one step down again."""
    hold_s: Annotated[float, span("seconds", 0.1, 300)] = 3.0
    """So long a load must last before the ladder moves, up or down."""


class RateConfig(Section):
    """A token bucket: `per_s` on average, `burst` at once."""

    per_s: float = Field(gt=0, le=10_000)
    burst: int = Field(ge=1, le=100_000)


class RatesConfig(Section):
    """Messages that one player may send, by class, over however many connections; over it they are refused with RATE_LIMITED."""

    movement: Annotated[RateConfig, span("messages a second")] = RateConfig(per_s=30, burst=60)
    """Changes of direction."""
    chat: Annotated[RateConfig, span("messages a second")] = RateConfig(per_s=1, burst=5)
    """Things said, whoever hears them."""
    request: Annotated[RateConfig, span("messages a second")] = RateConfig(per_s=20, burst=40)
    """Questions and other requests."""
    chunk: Annotated[RateConfig, span("chunks a second")] = RateConfig(per_s=100, burst=400)
    """Chunks of ground asked for."""
    action: Annotated[RateConfig, span("messages a second")] = RateConfig(per_s=20, burst=60)
    """What is stored: land, money, building."""
    account: Annotated[RateConfig, span("messages a second")] = RateConfig(per_s=1, burst=20)
    """Accounts: signing in, passwords, sessions, profiles."""
    moderation: Annotated[RateConfig, span("messages a second")] = RateConfig(per_s=1, burst=20)
    """Reports, blocks, and what moderators do."""
    ping: Annotated[RateConfig, span("messages a second")] = RateConfig(per_s=5, burst=10)
    """Pings of the client's own."""


class LimitsConfig(Section):
    """What one client may cost, and what all may cost together. Passing a limit gets a clear answer or a close code."""

    connections_max: Annotated[int, span("connections", 1, 1_000_000)] = 12_000
    """Open at once, signed in or not. More than server.max_players, for those who come and go."""
    connections_per_address: Annotated[int, span("connections", 1, 1_000_000)] = 4_096
    """Open at once from one address; many people share one behind a provider's router. Behind a proxy of our own:
    see server.trusted_proxies.
    """
    hellos_per_address: Annotated[RateConfig, span("sign-ins a second")] = RateConfig(per_s=500, burst=4_096)
    """Attempts to sign in from one address, whoever makes them; over it they are refused with RATE_LIMITED.
    The burst is one of everybody who comes back at once.
    """
    connects_per_address: Annotated[RateConfig, span("connections a second")] = RateConfig(
        per_s=1_000, burst=8_192
    )
    """New connections from one address, whatever becomes of them; over it they are answered 429."""
    requests_per_address: Annotated[RateConfig, span("messages a second")] = RateConfig(
        per_s=5_000, burst=40_000
    )
    """Questions, talk and what else is asked from one address, by all who play there; over it they are refused with
    RATE_LIMITED. Each player has limits.rates besides, which to come back does not refill.
    """
    actions_per_address: Annotated[RateConfig, span("messages a second")] = RateConfig(
        per_s=2_000, burst=20_000
    )
    """The same for what is stored: land, money, building."""
    account_requests_per_address: Annotated[RateConfig, span("messages a second")] = RateConfig(
        per_s=4, burst=64
    )
    """The same for accounts, before the hello and after it: a school behind one address that signs in at once."""
    registrations_per_address: Annotated[RateConfig, span("accounts a second")] = RateConfig(
        per_s=0.005, burst=40
    )
    """Accounts that are made from one address; over it RATE_LIMITED. What is refused costs nothing. As set, a class of
    40 at once and 18 an hour.
    """
    handshake_timeout_s: Annotated[int, span("seconds", 1, 60)] = 5
    """From connecting to the end of the WebSocket handshake."""
    hello_timeout_s: Annotated[int, span("seconds", 1, 60)] = 5
    """From there to the client's hello; then close 4001."""
    ping_interval_s: Annotated[int, span("seconds", 1, 600)] = 10
    """A quiet client is pinged so often. Whole seconds, as the time-outs: each client is looked at once a second."""
    idle_timeout_s: Annotated[int, span("seconds", 2, 3_600)] = 30
    """Nothing heard for so long, not even a pong: close 4002."""
    message_bytes_max: Annotated[int, span("bytes", 512, 1_048_576)] = 4_096
    """The largest WebSocket message from a client; over it close 1009."""
    messages_per_frame_max: Annotated[int, span("messages", 1, 4_096)] = MESSAGES_PER_FRAME_MAX
    """MessagePack arrays in one WebSocket message; over it close 1007."""
    fragments_max: Annotated[int, span("frames", 1, 1_024)] = 16
    """Pieces of one WebSocket message; over it close 1002."""
    flood_refusals_max: Annotated[int, span("refusals", 1, 100_000)] = 200
    """So many RATE_LIMITED answers within flood_window_s, and the client is closed with 4003."""
    flood_window_s: Annotated[float, span("seconds", 1, 600)] = 10.0
    """The time over which those refusals are counted."""
    inbox_commands_max: Annotated[int, span("commands", 1_024, 4_194_304)] = 65_536
    """What waits for the next tick, from everyone; over it commands are refused with UNAVAILABLE."""
    joins_per_tick_max: Annotated[int, span("people", 1, 65_536)] = 32
    """So many enter the world in one tick; the others wait in the inbox for the next."""
    outbox_bytes_max: Annotated[int, span("bytes", 65_536, 67_108_864)] = 1_048_576
    """What waits for one client that does not read; over it no snapshots, then slow_client_s counts."""
    slow_client_s: Annotated[float, span("seconds", 0.5, 300)] = 10.0
    """A client whose outbox stays over its limit so long is closed with 4004."""
    chunk_cache_bytes_max: Annotated[int, span("bytes", 1_048_576, 17_179_869_184)] = 67_108_864
    """Packed ground kept to be sent again; what was used longest ago goes first."""
    chunk_queue_max: Annotated[int, span("chunks", 64, 1_048_576)] = 8_192
    """Ground waiting to be made, for everyone; over it requests are refused with UNAVAILABLE."""
    sign_in_queue_max: Annotated[int, span("people", 1, 1_048_576)] = 1_024
    """Hellos waiting for the database; over it they are refused with UNAVAILABLE."""
    action_queue_max: Annotated[int, span("actions", 1, 1_048_576)] = 4_096
    """What is to be stored and has not entered the tick, of everyone; over it requests are refused with UNAVAILABLE."""
    question_queue_max: Annotated[int, span("questions", 1, 1_048_576)] = 1_024
    """Questions waiting for the database or the ground; over it they are refused with UNAVAILABLE."""
    moderation_queue_max: Annotated[int, span("requests", 1, 1_048_576)] = 256
    """Reports, blocks and acts of moderators waiting to be stored, of everyone; over it they are refused with UNAVAILABLE."""
    rates: RatesConfig = RatesConfig()


class SessionConfig(Section):
    """Coming back."""

    resume_s: Annotated[float, span("seconds", 0, 3_600)] = 30.0
    """After a lost line a player stays in the world and can resume for so long."""
    ticket_days: Annotated[float, span("days", 0.01, 365)] = 30.0
    """How long the ticket is good that a client keeps over a restart of the server. A guest who was not
    seen for so long is forgotten.
    """
    token_days: Annotated[float, span("days", TOKEN_DAYS_MIN, TOKEN_DAYS_MAX)] = 30.0
    """How long a token of `landworld token` is good by default."""


class AccountsConfig(Section):
    """Passwords and sessions."""

    access_s: Annotated[int, span("seconds", 60, 86_400)] = 3_600
    """How long an access token lets its holder come in; a refresh token makes another."""
    refresh_days: Annotated[float, span("days", 0.01, 365)] = 7.0
    """A session that was not refreshed for so long is over."""
    code_s: Annotated[int, span("seconds", 60, 604_800)] = 3_600
    """How long a code that went out by mail is good."""
    failures_max: Annotated[int, span("tries", 1, 1_000)] = 5
    """So many wrong passwords lock a name."""
    lock_s: Annotated[float, span("seconds", 1, 86_400)] = 900.0
    """For so long. Who is signed in is not touched by it."""
    failures_per_address: Annotated[RateConfig, span("tries a second")] = RateConfig(per_s=0.5, burst=60)
    """Wrong passwords from one address, for whatever names; over it RATE_LIMITED. A right one costs nothing."""
    requests_max: Annotated[int, span("requests", 1, 65_536)] = 512
    """Requests about accounts that are being worked at, of everybody; over it they are refused with RATE_LIMITED."""
    requests_per_address_max: Annotated[int, span("requests", 1, 65_536)] = 64
    """And of one address; fewer while many are being worked at: an eighth of the places that are free."""
    hash_threads: Annotated[int, span("threads", 1, 64)] = 2
    """Passwords hashed at once, at a low priority."""
    argon2_passes: Annotated[int, span("passes", 1, 100)] = 1
    """Argon2id: passes over the memory. This and the next two are what OWASP names first; hashes made with others
    are made anew when their owner signs in. Until then the time that a wrong password takes tells such a name from one
    of nobody, so change them seldom.
    """
    argon2_memory_kib: Annotated[int, span("KiB", 8, 4_194_304)] = 47_104
    """Argon2id: memory for each hash that is being made."""
    argon2_lanes: Annotated[int, span("lanes", 1, 64)] = 1
    """Argon2id: lanes, each a thread more while a hash is made."""


class ChatConfig(Section):
    """Talk."""

    radius_tiles: Annotated[int, span("tiles", 1, 256)] = 24
    """How far a voice carries."""
    text_chars_max: Annotated[int, span("characters", 1, CHAT_CHARS_MAX)] = 300
    """The longest thing that can be said at once."""
    world_rate: Annotated[RateConfig, span("messages a second")] = RateConfig(per_s=10, burst=30)
    """World talk of all together, for each line goes to everyone; over it RATE_LIMITED."""
    history_messages_max: Annotated[int, span("messages", 0, 1_000_000)] = 2_000
    """The latest talk kept in memory for those who come; so much of world, nearby and direct talk each."""
    history_on_enter: Annotated[int, span("messages", 0, 200)] = 30
    """So many of them a player is told on entering."""
    keep_days: Annotated[float, span("days", 0, 3_650)] = 30.0
    """How long talk is stored."""
    words: Literal["mask", "refuse", "off"] = "mask"
    """What becomes of a line with a word that is not wanted: stars in place of the word, a refusal, or nothing. Names and
    descriptions with such a word are refused unless this is "off".
    """
    words_file: str = ""
    """More such words than the few that are built in: a text file, a word a line; "*" at an end of a word stands for any
    letters there, "!" before it makes it innocent, "#" begins a comment. Empty: none.
    """

    @field_validator("words_file")
    @classmethod
    def _is_list(cls, value: str) -> str:
        words_of(value)
        return value


class ModerationConfig(Section):
    """Reports and blocks; mutes and bans are the moderators' and last as long as they say."""

    reports_open_max: Annotated[int, span("reports", 1, 1_000)] = 5
    """So many reports of one player may wait for a moderator."""
    reports_keep_days: Annotated[float, span("days", 1, 3_650)] = 180.0
    """How long a report is kept after it was closed. What moderators did is kept for good."""
    blocks_max: Annotated[int, span("people", 1, 10_000)] = 200
    """So many people one player can block."""


class LandConfig(Section):
    """Owned land. A plot is 16 x 16 tiles."""

    plot_price: Annotated[int, span("poisha", 0, 10**12)] = 10_000
    """What a plot costs at (0, 0). 100 poisha are 1 BDT."""
    plot_price_min: Annotated[int, span("poisha", 0, 10**12)] = 500
    """What a plot costs at least, however far away."""
    plot_price_falloff_plots: Annotated[int, span("plots", 1, 65_536)] = 32
    """So far away a plot costs half."""
    parcel_plots_max: Annotated[int, span("plots", 1, 64)] = 64
    """The largest parcel."""
    player_parcels_max: Annotated[int, span("parcels", 1, 65_536)] = 64
    """One player owns so many at most."""
    player_plots_max: Annotated[int, span("plots", 1, 1_048_576)] = 512
    """And so many plots, all together."""
    lease_term_min_s: Annotated[float, span("seconds", 0.05, 31_622_400)] = 3_600.0
    """The shortest term of a lease, in world time."""
    upkeep_per_plot: Annotated[int, span("poisha", 0, 10**12)] = 0
    """What a plot costs its owner each period, paid to the house by itself. 0: land costs nothing but its claim."""
    upkeep_period_days: Annotated[float, span("days", 0.0001, 3_650)] = 30.0
    """How long a period is, in world time."""
    upkeep_grace_periods: Annotated[int, span("periods", 0, 1_000)] = 2
    """So many may be owed; after that the land is nobody's again, and what stood there is gone."""


class MarketConfig(Section):
    """Land that players sell. The fee that holds when a listing is made holds until it is over, whatever stands here by then."""

    fee_basis_points: Annotated[int, span("hundredths of a percent", 0, BASIS_POINTS)] = 250
    """What of a price goes to the house, in hundredths of a percent; the seller gets the rest."""
    fee_min: Annotated[int, span("poisha", 0, 10**12)] = 100
    """The least that goes to the house, but never more than the price."""
    price_min: Annotated[int, span("poisha", 0, 10**12)] = 100
    """The lowest price. 100 poisha are 1 BDT."""
    price_max: Annotated[int, span("poisha", 1, MONEY_MAX)] = 10**13
    """The highest price."""
    player_listings_max: Annotated[int, span("listings", 1, 65_536)] = 64
    """One player sells so many parcels at a time."""
    listing_min_s: Annotated[float, span("seconds", 0.05, LISTING_MS_MAX // 1_000)] = 60.0
    """The shortest time that a listing stands, in world time, unless it is sold or taken back."""
    listing_max_days: Annotated[float, span("days", 0.0001, 366)] = 90.0
    """And the longest. One for which no time is named stands until it is sold or taken back. Both hold for auctions, too."""
    auction_step_min: Annotated[int, span("poisha", 1, 10**12)] = 100
    """So much more is bid at least from one bid to the next."""
    auction_step_basis_points: Annotated[int, span("hundredths of a percent", 0, BASIS_POINTS)] = 500
    """And so much of the price; the larger of the two counts."""
    auction_snipe_s: Annotated[float, span("seconds", 0, 86_400)] = 60.0
    """A bid so shortly before the end of an auction moves it to so long after the bid. 0: it never does."""
    auction_extensions_max: Annotated[int, span("times", 0, 1_000)] = 10
    """Bids move an end by so often that time, at most."""
    auction_outage_s: Annotated[float, span("seconds", 0, 86_400)] = 60.0
    """No auction ends so shortly after a start, or after the database was away: time to come back and bid."""
    player_leads_max: Annotated[int, span("auctions", 1, 65_536)] = 64
    """One player leads in so many auctions at a time."""


class EconomyConfig(Section):
    """Money. Whole poisha, 100 of which are 1 BDT."""

    starting_grant: Annotated[int, span("poisha", 0, 10**12)] = 100_000
    """What the treasury gives each player; it is booked with the first thing they do that costs or brings money."""


class PersistenceConfig(Section):
    """PostgreSQL."""

    url: str = Field(default="", repr=False)
    """The database, as "postgresql://user@host:5432/name", PostgreSQL 15 or newer. Empty: one of our own
    inside the data directory, nothing to install. A URL with a password in it comes from the environment:
    LANDWORLD_PERSISTENCE__URL.
    """
    flush_interval_ms: Annotated[
        int, span("milliseconds", 50, CRASH_LOSES_MS_MAX - HAND_OVER_MS - WRITE_MS)
    ] = 2_000
    """How often what changed is written. A crash loses at most this, the second after which places are handed
    over, and the write itself; the range keeps that within five seconds.
    """
    pool_size: Annotated[int, span("connections", 2, 64)] = 4
    """Connections to the database."""
    startup_timeout_s: Annotated[float, span("seconds", 1, 3_600)] = 300.0
    """How long a start waits for the database; after a crash it may have to recover first."""

    @field_validator("url")
    @classmethod
    def _is_postgres(cls, value: str) -> str:
        if value and (not value.startswith(("postgresql://", "postgres://")) or not urlsplit(value).hostname):
            raise ValueError('write it like "postgresql://user@host:5432/name", or leave it empty')
        return value


class RedisConfig(Section):
    """Redis or Valkey, for servers that share lockouts, limits of addresses, ended sessions and who is in. None is needed."""

    url: str = Field(default="", repr=False)
    """As "redis://host:6379/0", or "rediss://" over TLS. Empty: this server is by itself. While Redis is away local limits go
    on, moderators, admins and the market wait, and everybody else plays on. A URL with a password in it comes from the
    environment: LANDWORLD_REDIS__URL. All servers on it need the same LANDWORLD_REDIS__SECRET, which is in the environment only.
    """
    secret: SecretStr | None = Field(
        default=None, description="For the digests that stand in Redis for addresses and names."
    )
    prefix: Annotated[str, span("")] = "landworld"
    """What the names of all keys begin with: servers with the same prefix share, others on the same Redis do not."""

    @field_validator("url")
    @classmethod
    def _is_redis(cls, value: str) -> str:
        if value and (
            not value.startswith(("redis://", "rediss://", "unix://"))
            or not urlsplit(value).netloc + urlsplit(value).path
        ):
            raise ValueError('write it like "redis://host:6379/0", or leave it empty')
        return value

    @field_validator("prefix")
    @classmethod
    def _is_a_word(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", value):
            raise ValueError("write 1 to 64 letters, digits, dots, underscores or dashes")
        return value


class MailConfig(Section):
    """Letters to people who have an account."""

    host: str = ""
    """The mail server that takes them, by SMTP. Empty: they are written into the directory "outbox" of the data
    directory, where `landworld outbox` shows them.
    """
    port: Annotated[int, span("", 1, 65_535)] = 587
    """Its port for submission."""
    starttls: bool = True
    """Whether the line must be encrypted (STARTTLS); then nothing is sent where it cannot be. false is for a mail
    server on this machine.
    """
    user: str = ""
    """The name to log in with; the password comes from the environment, LANDWORLD_MAIL__PASSWORD. Empty: no login."""
    password: SecretStr | None = Field(default=None, description="For mail.user.")
    from_address: str = "landworld@localhost"
    """From whom they come."""
    queue_max: Annotated[int, span("letters", 1, 1_000_000)] = 1_000
    """Letters waiting to go out, in memory; over it what would need another is refused with UNAVAILABLE."""
    attempt_s: Annotated[float, span("seconds", 0.1, 300)] = 30.0
    """The longest one attempt takes; four go on at a time."""
    give_up_s: Annotated[float, span("seconds", 1, 604_800)] = 3_600.0
    """A letter that cannot be delivered is tried again for so long, with growing pauses."""
    outbox_files_max: Annotated[int, span("letters", 1, 1_000_000)] = 1_000
    """So many are kept in the outbox; the oldest go first."""

    @field_validator("from_address")
    @classmethod
    def _is_address(cls, value: str) -> str:
        local, at, domain = value.rpartition("@")
        if not (local and at and domain and value.isascii() and value.isprintable() and " " not in value):
            raise ValueError('write it like "world@example.org"')
        return value


class LogConfig(Section):
    """What the server says of itself."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least that is worth a line."""
    format: Literal["console", "json"] = "console"
    """console is for people, json one object a line for machines."""


class Config(Section):
    """All settings. `Config()` is the defaults; `load_config()` is what a server starts with."""

    data: Annotated[Path, span("path")] = Path("./data")
    """The data directory: the embedded database, keys and sockets. LANDWORLD_DATA in the environment."""
    signing_key: SecretStr | None = Field(
        default=None,
        description="Signs tokens and tickets. Several, the newest first, divided by commas: the first signs, all are believed.",
    )
    sealing_key: SecretStr | None = Field(
        default=None,
        description="Seals private values in the database; several as with signing_key: the first seals, all open.",
    )
    lookup_key: SecretStr | None = Field(
        default=None, description="By it private values are found without being opened; never changed."
    )
    server: ServerConfig = ServerConfig()
    http: HttpConfig = HttpConfig()
    world: WorldConfig = WorldConfig()
    interest: InterestConfig = InterestConfig()
    limits: LimitsConfig = LimitsConfig()
    session: SessionConfig = SessionConfig()
    accounts: AccountsConfig = AccountsConfig()
    chat: ChatConfig = ChatConfig()
    moderation: ModerationConfig = ModerationConfig()
    land: LandConfig = LandConfig()
    market: MarketConfig = MarketConfig()
    economy: EconomyConfig = EconomyConfig()
    persistence: PersistenceConfig = PersistenceConfig()
    redis: RedisConfig = RedisConfig()
    mail: MailConfig = MailConfig()
    log: LogConfig = LogConfig()

    @field_validator("data", mode="before")
    @classmethod
    def _is_a_place(cls, value: object) -> object:
        if not str(value).strip():
            raise ValueError('write a directory, like "./data"')
        path = Path(str(value)).expanduser()
        if os.path.isfile(path):  # Path.is_file raises where one may not look
            raise ValueError("this is a file, not a directory")
        return path

    @field_validator("signing_key", "sealing_key", "lookup_key")
    @classmethod
    def _are_keys(cls, value: SecretStr | None, info: Any) -> SecretStr | None:
        keys = given_keys(value)
        if any(len(key) < KEY_BYTES_MIN for key in keys):
            raise ValueError(
                f"a key must have at least {KEY_BYTES_MIN} bytes; `openssl rand -hex 32` makes one"
            )
        if len(keys) > (1 if info.field_name == "lookup_key" else KEYS_MAX) or len(set(keys)) < len(keys):
            raise ValueError(f"there are 1 to {KEYS_MAX} keys, each once, and only one lookup_key")
        return value


def given_keys(value: SecretStr | None) -> list[bytes]:
    """The keys in a secret of the environment, newest first."""
    return [key.strip().encode() for key in value.get_secret_value().split(",")] if value else []


SECRETS = {"signing_key", "sealing_key", "lookup_key", "mail.password", "redis.secret"}
URLS = {"persistence.url", "redis.url"}  # that may hold a password
# The second is the tests': with it, a browser that is not there is a failure.
OTHER_VARIABLES = {CONFIG_FILE_ENV, "LANDWORLD_REQUIRE_BROWSER"}
COMMENT_CHARS = 118
FILE_HEAD = """\
Every setting of the server, at its default. What you delete here stays at its default.

`port` of [server] is LANDWORLD_SERVER__PORT in the environment, and so with the others; the environment wins.
LANDWORLD_CONFIG names another file than ./config.toml.
Secrets come from the environment only: LANDWORLD_SIGNING_KEY, LANDWORLD_SEALING_KEY and LANDWORLD_LOOKUP_KEY (those
that are not given the server makes, and keeps them in its data directory), LANDWORLD_MAIL__PASSWORD,
LANDWORLD_REDIS__SECRET, and LANDWORLD_PERSISTENCE__URL and LANDWORLD_REDIS__URL if the URL has a password in it."""


@dataclass(frozen=True, slots=True)
class Relation:
    """Two settings that must fit together."""

    first: str
    second: str
    fits: Callable[[Config], bool]
    why: str


RELATIONS = (
    Relation(
        "server.port",
        "http.port",
        lambda c: c.server.port != c.http.port or c.server.port == 0,
        "the game socket and the pages need a port each",
    ),
    Relation(
        "server.max_players",
        "limits.connections_max",
        lambda c: c.server.max_players <= c.limits.connections_max,
        "every player needs a connection, so connections_max must be at least max_players",
    ),
    Relation(
        "market.price_min",
        "market.price_max",
        lambda c: c.market.price_min <= c.market.price_max,
        "no price lies between the two, so nothing could be sold",
    ),
    Relation(
        "market.listing_min_s",
        "market.listing_max_days",
        lambda c: c.market.listing_min_s <= c.market.listing_max_days * 86_400,
        "no time lies between the two, so no listing could have an end",
    ),
    Relation(
        "mail.user",
        "mail.password",
        lambda c: bool(c.mail.user) == (c.mail.password is not None),
        "one is of no use without the other; the password comes from the environment, LANDWORLD_MAIL__PASSWORD",
    ),
    Relation(
        "redis.url",
        "redis.secret",
        lambda c: bool(c.redis.url) == (c.redis.secret is not None),
        "one is of no use without the other; the secret comes from the environment, LANDWORLD_REDIS__SECRET",
    ),
    Relation(
        "mail.user",
        "mail.starttls",
        lambda c: c.mail.starttls or not c.mail.user,
        "the password would go over the line for all to read",
    ),
    Relation(
        "limits.connections_per_address",
        "limits.connections_max",
        lambda c: c.limits.connections_per_address <= c.limits.connections_max,
        "one address cannot hold more than all together",
    ),
    Relation(
        "limits.ping_interval_s",
        "limits.idle_timeout_s",
        lambda c: 2 * c.limits.ping_interval_s <= c.limits.idle_timeout_s,
        "two pings must fit into the idle time, or one late answer cuts off a healthy client",
    ),
    Relation(
        "limits.outbox_bytes_max",
        "interest.client_bytes_per_s",
        lambda c: c.interest.client_bytes_per_s <= c.limits.outbox_bytes_max,
        "an outbox must hold one second of a client's budget, or a hiccup of the line counts as not reading",
    ),
    Relation(
        "limits.chunk_queue_max",
        "limits.rates.chunk.burst",
        lambda c: c.limits.rates.chunk.burst < c.limits.chunk_queue_max,
        "the burst of one client must not fill the queue that all share",
    ),
    Relation(
        "accounts.requests_per_address_max",
        "accounts.requests_max",
        lambda c: c.accounts.requests_per_address_max < c.accounts.requests_max,
        "the requests of one address must leave room for those of others",
    ),
    Relation(
        "accounts.argon2_lanes",
        "accounts.argon2_memory_kib",
        lambda c: 8 * c.accounts.argon2_lanes <= c.accounts.argon2_memory_kib,
        "each lane of Argon2id needs 8 KiB",
    ),
    Relation(
        "chat.text_chars_max",
        "limits.message_bytes_max",
        lambda c: (
            c.chat.text_chars_max * UTF8_BYTES_PER_CHAR_MAX + CHAT_ENVELOPE_BYTES
            <= c.limits.message_bytes_max
        ),
        "a text of that length can take four bytes a character, and the message must hold it",
    ),
    Relation(
        "chat.radius_tiles",
        "interest.radius_cells",
        lambda c: c.chat.radius_tiles <= c.interest.radius_cells * CELL_TILES,
        f"nobody should hear people out of sight; a cell is {CELL_TILES} tiles",
    ),
    Relation(
        "chat.history_on_enter",
        "chat.history_messages_max",
        lambda c: c.chat.history_on_enter <= c.chat.history_messages_max,
        "more cannot be told than is kept",
    ),
    Relation(
        "interest.lower_at_share",
        "interest.raise_at_share",
        lambda c: c.interest.lower_at_share < c.interest.raise_at_share,
        "the ladder would go up and down at the same load",
    ),
    Relation(
        "world.walk_speed_tiles_per_s",
        "world.tick_hz",
        lambda c: c.world.walk_speed_tiles_per_s < c.world.tick_hz,
        "a step must be shorter than a tile, or people walk through what is one tile thick",
    ),
    Relation(
        "world.pregenerate_radius_chunks",
        "interest.radius_cells",
        lambda c: c.interest.radius_cells <= c.world.pregenerate_radius_chunks,
        "the ground must be ready as far as one sees; a cell is a chunk",
    ),
    Relation(
        "world.pregenerate_radius_chunks",
        "world.chunks_loaded_max",
        lambda c: (
            (2 * (c.world.pregenerate_radius_chunks + c.world.pregenerate_ahead_chunks) + 1) ** 2
            <= c.world.chunks_loaded_max
        ),
        "the ground around one player must fit",
    ),
    Relation(
        "server.max_players",
        "world.chunks_loaded_max",
        lambda c: NEAR_CHUNKS * c.server.max_players <= c.world.chunks_loaded_max,
        f"should all walk alone, each needs {NEAR_CHUNKS} chunks: the one they stand in and those beside it",
    ),
)


def load_config(file: Path | None = None) -> Config:
    """Read `file` (by default the one that LANDWORLD_CONFIG names, or ./config.toml if there is one) and the environment.

    An empty variable counts as none. Raises ConfigError, its text ready to be shown.
    """
    path = _config_file(file)
    table = _read_table(path) if path else {}
    source = _Source(table, str(path) if path else "")
    mistakes = [*source.leaked_secrets(), *_misnamed_variables()]
    if mistakes:
        raise ConfigError(_listed(mistakes))
    try:
        loaded = _FileAndEnvironment(**table)
    except SettingsError as error:
        raise ConfigError(_listed([str(error)])) from None
    except ValidationError as error:
        raise ConfigError(_listed(source.mistake(details) for details in error.errors())) from None
    mistakes = [source.misfit(relation, loaded) for relation in RELATIONS if not relation.fits(loaded)]
    if mistakes:
        raise ConfigError(_listed(mistakes))
    return loaded


class _FileAndEnvironment(BaseSettings, Config):
    """The file comes in as arguments; the environment wins over it, and a part of a table leaves the rest at its default."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter=ENV_NESTED,
        env_ignore_empty=True,
        nested_model_default_partial_update=True,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings


def _config_file(file: Path | None) -> Path | None:
    if file is None and os.environ.get(CONFIG_FILE_ENV):
        file = Path(os.environ[CONFIG_FILE_ENV]).expanduser()
        if file.is_dir():
            raise ConfigError(f"{CONFIG_FILE_ENV} names {file}, which is a directory, not a settings file.")
        if not file.is_file():
            raise ConfigError(f"There is no settings file {file}; {CONFIG_FILE_ENV} names it.")
    if file is None:
        return Path(CONFIG_FILE) if Path(CONFIG_FILE).is_file() else None
    if not file.is_file():
        raise ConfigError(f"There is no settings file {file}.")
    return file


def _read_table(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"The settings file {path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"The settings file {path} is not UTF-8 text.") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"The settings file {path} is not TOML: {error}.") from None


def _listed(mistakes: Iterable[str]) -> str:
    return "\n".join(["The settings cannot be used:", *(f"  - {mistake}" for mistake in mistakes)])


@dataclass(frozen=True, slots=True)
class _Source:
    """Tells where a value came from, and of each mistake what a person needs to mend it."""

    table: dict[str, Any]
    file: str  # "" without one

    def origin(self, name: str) -> str:
        variable = variable_of(name)
        if os.environ.get(variable):
            return f"{variable} in the environment"
        return self.file if _value_at(self.table, name) is not None else "the default"

    def leaked_secrets(self) -> Iterator[str]:
        for name in sorted(SECRETS):
            if _value_at(self.table, name) is None:
                continue
            variable = variable_of(name)
            yield f"{name} ({self.file}): a secret has no place in a file; give it as {variable} in the environment"
        for name in sorted(URLS):
            url = _value_at(self.table, name)
            if isinstance(url, str) and "@" in url and ":" in url.rsplit("@", 1)[0].partition("://")[2]:
                yield (
                    f"{name} ({self.file}): a password has no place in a file; give the whole URL as "
                    f"{variable_of(name)} in the environment"
                )

    def mistake(self, details: ErrorDetails) -> str:
        name = ".".join(str(part) for part in details["loc"] if not isinstance(part, int))
        fields = dict(settings()) | leaves()
        if details["type"] == "extra_forbidden":
            known = fields.keys() | _tables()
            return f"{name} ({self.origin(name)}): there is no such setting{_did_you_mean(name, known)}"
        told = details.get("ctx", {}).get("error") if details["type"] == "value_error" else None
        wanted = told or _wanted(fields.get(name))
        value = "(hidden)" if name in SECRETS | URLS else _toml(details["input"])
        return f"{name} = {value} ({self.origin(name)}): {wanted}"

    def misfit(self, relation: Relation, config: Config) -> str:
        first, second = (
            f"{n} = {_toml(_attribute(config, n))} ({self.origin(n)})"
            for n in (relation.first, relation.second)
        )
        return f"{first} does not fit {second}: {relation.why}"


def settings(section: type[BaseModel] = Config, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every setting as its dotted name and its field, sections in order; a rate is one setting."""
    for name, field in section.model_fields.items():
        if _is_table(field):
            yield from settings(_model(field), f"{prefix}{name}.")
        else:
            yield prefix + name, field


def variable_of(name: str) -> str:
    """The environment's name for setting `name`: `a.b` is LANDWORLD_A__B."""
    return ENV_PREFIX + name.upper().replace(".", ENV_NESTED)


def _model(field: FieldInfo) -> type[BaseModel]:
    return cast("type[BaseModel]", field.annotation)


def _is_table(field: FieldInfo) -> bool:
    kind = field.annotation
    return isinstance(kind, type) and issubclass(kind, BaseModel) and kind is not RateConfig


def _value_at(table: object, name: str) -> object:
    for part in name.split("."):
        table = table.get(part) if isinstance(table, dict) else None
    return table


def _attribute(config: object, name: str) -> object:
    for part in name.split("."):
        config = getattr(config, part)
    return config


def leaves() -> dict[str, FieldInfo]:
    """As `settings`, but a rate is its parts: what one variable of the environment can hold."""
    found: dict[str, FieldInfo] = {}
    for name, field in settings():
        parts = RateConfig.model_fields if field.annotation is RateConfig else {}
        found |= {f"{name}.{part}": part_field for part, part_field in parts.items()} or {name: field}
    return found


def _tables() -> set[str]:
    return {name.rsplit(".", depth)[0] for name in leaves() for depth in range(1, name.count(".") + 1)}


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    """The known name of the same last word in another section, or else the closest."""
    known = sorted(known)
    last = name.rsplit(".", 1)[-1]
    close = [k for k in known if k.rsplit(".", 1)[-1] == last] or difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _misnamed_variables() -> Iterator[str]:
    """LANDWORLD_* variables that would be passed over in silence, or would set a whole table in JSON.

    Names like none of ours are let be when they have no `__`: Kubernetes sets LANDWORLD_PORT=tcp://... and more of the
    kind for every service that it knows.
    """
    known = OTHER_VARIABLES | {variable_of(name) for name in leaves()}
    for variable in sorted(os.environ):
        if variable.startswith(ENV_PREFIX) and variable not in known:
            hint = _variable_hint(variable, known)
            if hint or ENV_NESTED in variable:
                yield f"{variable} in the environment: there is no such setting{hint}"


def _variable_hint(variable: str, known: set[str]) -> str:
    if variable in {variable_of(table) for table in _tables()}:
        first = min(name for name in known if name.startswith(variable + ENV_NESTED))
        return f"; it is a table, name one of its settings, as in {first}"
    if ENV_NESTED in variable:
        return _did_you_mean(variable, known)
    if os.environ[variable].startswith("tcp://"):
        return ""
    one_underscore = [name for name in known if name.replace(ENV_NESTED, "_") == variable]
    plain = [name for name in known if ENV_NESTED not in name]
    close = one_underscore or difflib.get_close_matches(variable, plain, n=1, cutoff=0.9)
    return f"; did you mean {close[0]}?" if close else ""


def _range(field: FieldInfo) -> str:
    bounds = {k: getattr(m, k) for m in field.metadata for k in ("gt", "ge", "le") if hasattr(m, k)}
    if not bounds:
        return ""
    start = f"over {_toml(bounds['gt'])}" if "gt" in bounds else f"from {_toml(bounds['ge'])}"
    return f"{start} to {_toml(bounds['le'])}"


def _unit(field: FieldInfo) -> str:
    extra = field.json_schema_extra
    return str(extra["unit"]) if isinstance(extra, dict) else ""


def _wanted(field: FieldInfo | None) -> str:
    """What a value must be, in words."""
    if field is None:
        return "expected a table of settings"
    noun = _noun(field.annotation)
    unit = f"({_unit(field)})" if _unit(field) else ""
    return " ".join(filter(None, ("expected", noun, _range(field), unit)))


def _noun(kind: object) -> str:
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(f'"{choice}"' for choice in get_args(kind))
    if get_origin(kind) is tuple:
        return "a list of texts"
    if kind is RateConfig:
        return "{ per_s = a number over 0, burst = a whole number over 0 }"
    return {int: "a whole number", float: "a number", bool: "true or false"}.get(cast("type", kind), "a text")


def _toml(value: object) -> str:
    """`value` as it stands in a TOML file."""
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return f"{value:_}" if isinstance(value, int) and abs(value) >= 10_000 else f"{value}"
        case RateConfig():
            return f"{{ per_s = {_toml(value.per_s)}, burst = {_toml(value.burst)} }}"
        case tuple() | list():
            return "[" + ", ".join(_toml(part) for part in value) + "]"
        case dict():
            return "{ " + ", ".join(f"{key} = {_toml(part)}" for key, part in value.items()) + " }"
        case Path():
            return f'"./{value}"' if not value.is_absolute() else f'"{value}"'
        case _:
            return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


def default_file() -> str:
    """The text of config.toml: every setting at its default, with its meaning, unit and range."""
    lines = _comment(FILE_HEAD)
    section = ""
    for name, field in settings():
        if name in SECRETS:
            continue
        table, _, key = name.rpartition(".")
        if table != section:
            lines += ["", "", f"[{table}]", *_comment(_section_meaning(table))]
            section = table
        lines += ["", *_comment(field.description or ""), f"# {_facts(field)}"]
        lines.append(f"{key} = {_toml(field.default)}")
    return "\n".join(lines) + "\n"


def _section_meaning(table: str) -> str:
    model: type[BaseModel] = Config
    for part in table.split("."):
        model = _model(model.model_fields[part])
    return model.__doc__ or ""


def _facts(field: FieldInfo) -> str:
    facts = {
        "unit": _unit(field),
        "default": _toml(field.default),
        "range": _range(field).removeprefix("from "),
    }
    return "(" + ", ".join(f"{word}: {fact}" for word, fact in facts.items() if fact) + ")"


def _comment(text: str) -> list[str]:
    wrapped = [
        textwrap.wrap(part, COMMENT_CHARS, break_on_hyphens=False) or [""] for part in text.splitlines()
    ]
    return [f"# {line}".rstrip() for lines in wrapped for line in lines]


if __name__ == "__main__":
    print(default_file(), end="")
