"""`landworld bench memory`: what a connection, a player, a loaded chunk, a cached chunk message and a parcel take of the server.

Each figure is a slope: two servers that differ in the number of that one thing, and what their resident memory differs by, divided by
the difference of the numbers. So nothing counts that a server has once. What the kernel holds for sockets is in none of them.

    connection   sockets with the handshake done, that never say hello
    player       bots that stand, less what their connections take
    chunk        ground loaded for walking on, with a cache for messages as small as it may be
    message      the same ground again, with room for all messages in the cache
    parcel       worlds in which so many own a plot each (`bench recovery` makes them), the owner's account included
"""

import argparse
import json
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Any

from rich.console import Console

from server.config import LimitsConfig
from tools.bench.attend import Look, Still, drive, look_at, room_for, sources_for
from tools.bench.live import BenchError, LiveServer, live_server, on_load
from tools.bench.recovery import filled
from tools.bots.fleet import Bot, Fleet, Plan, State, parse_target

PLAYERS = 1_000  # of the smaller server; the larger has FACTOR times as many
FACTOR = 3
SCATTERED, SCATTERED_TILES = 8, 6_000  # so few players so far apart that each has ground of their own
PREGENERATE_RADIUS_MAX = 16  # chunks around each of them
CACHE_BYTES_MIN = 1_048_576
IN_SIGHT = 36
SETTLE_S = 3.0
GROUND_S_MAX = 180.0
PARCELS = 10_000  # of the smaller world; the larger has PARCELS_FACTOR times as many
PARCELS_FACTOR = 11


class Silent(Bot):
    """Opens the socket, and says nothing."""

    __slots__ = ()
    WATCHES = False

    def _upgraded(self) -> None:
        self.state = State.PLAYING
        self._fleet.joined(self, self._index)


@dataclass(frozen=True, slots=True)
class Point:
    """One server: so many of something, and its memory."""

    count: float
    rss_kib: float


@dataclass(slots=True)
class Seen:
    """A server when all had come."""

    server: LiveServer
    look: Look | None = None

    def note(self, begins: bool) -> None:
        """The measured time begins, or ends."""
        self.look = self.look or look_at(self.server)

    def point(self) -> Point:
        """Raises BenchError when there was nothing to see."""
        if self.look is None:
            raise BenchError("stopped before anything was measured")
        return Point(self.look["landworld_connections"], self.look.rss_kib)


def slope(small: Point, large: Point) -> float:
    """KiB for each one more. Raises BenchError when there were no more."""
    if large.count <= small.count:
        raise BenchError(f"two sizes are needed, and both servers had {small.count:,.0f}")
    return (large.rss_kib - small.rss_kib) / (large.count - small.count)


def add_parser(sub: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register `landworld bench memory`."""
    parser = sub.add_parser(
        "memory", help="memory of one connection, player, chunk, parcel", description=__doc__
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--players",
        type=int,
        default=PLAYERS,
        metavar="N",
        help=f"of the smaller server; the larger has {FACTOR} times as many (default {PLAYERS})",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.set_defaults(run=run)


@on_load
def run(args: argparse.Namespace) -> int:
    """Run the command; exit code 1 when a bot met an error, 2 when it could not run."""
    found = measure(args.players)
    console = Console(stderr=args.json)
    for key, text in (
        ("kib_per_connection", "a connection that says nothing"),
        ("kib_per_player", "a player, connection included"),
        ("kib_per_player_without_connection", "a player alone"),
        ("kib_per_chunk_loaded", "a loaded chunk"),
        ("kib_per_chunk_cached", "a cached chunk message"),
        ("kib_per_parcel", "a parcel, its owner's account included"),
    ):
        console.print(f"{text:40} {found[key]:8.2f} KiB", highlight=False)
    console.print(f"a chunk message has {found['bytes_per_chunk_message']:,.0f} bytes", highlight=False)
    if args.json:
        print(json.dumps(found))
    return 0 if not found["errors"] else 1


def measure(
    players: int,
    scattered: int = SCATTERED,
    radius: int = PREGENERATE_RADIUS_MAX,
    parcels: int = PARCELS,
) -> dict[str, Any]:
    """All of it: nine servers, one after the other; and one before, for the first of all compiles, which takes memory."""
    with live_server(room_for(1, IN_SIGHT)):
        pass
    silent, errors_of_silent = sizes(players, Silent)
    people, errors_of_people = sizes(players, Still)
    per_connection, per_player = slope(*silent), slope(*people)
    little = ground(1, radius, CACHE_BYTES_MIN)
    much = ground(scattered, radius, CACHE_BYTES_MIN)
    cached = ground(scattered, radius, LimitsConfig().chunk_cache_bytes_max)
    message_bytes = cached.cache_bytes / max(cached.loaded, 1)  # all that are loaded are cached
    per_loaded = slope(Point(little.loaded, little.rss_kib), Point(much.loaded, much.rss_kib))
    per_cached = slope(
        *(
            Point(one.cache_bytes / message_bytes, one.rss_kib - per_loaded * one.loaded)
            for one in (much, cached)
        )
    )
    owned = [land(count) for count in (parcels, parcels * PARCELS_FACTOR)]
    return {
        "players": [round(one.count) for one in people],
        "kib_per_connection": round(per_connection, 2),
        "kib_per_player": round(per_player, 2),
        "kib_per_player_without_connection": round(per_player - per_connection, 2),
        "chunks": [little.loaded, much.loaded],
        "kib_per_chunk_loaded": round(per_loaded, 3),
        "kib_per_chunk_cached": round(per_cached, 3),
        "bytes_per_chunk_message": round(message_bytes),
        "parcels": [round(one.count) for one in owned],
        "kib_per_parcel": round(slope(*owned), 3),
        "errors": errors_of_silent + errors_of_people,
    }


def sizes(players: int, kind: type[Bot]) -> tuple[list[Point], int]:
    """A small and a large server of such clients, and the clients' errors."""
    points, errors = [], 0
    # Both spread over the same land, so that the ground around them is no part of the difference.
    settings = room_for(players * FACTOR, IN_SIGHT, **{"limits.hello_timeout_s": 60})
    for count in (players, players * FACTOR):
        with live_server(settings) as server:
            fleet = Fleet(_plan(server, count), kind)
            seen = Seen(server)
            fleet.on_window = seen.note
            result = drive(fleet, server)
        points.append(seen.point())
        errors += result.tally.errors.total()
    return points, errors


@dataclass(frozen=True, slots=True)
class Ground:
    """A server with so much ground."""

    loaded: int
    cache_bytes: float
    rss_kib: int


def ground(players: int, radius: int, cache_bytes_max: int) -> Ground:
    """A server in which so few stand far apart, once all ground around them is made."""
    settings = room_for(
        players,
        IN_SIGHT,
        **{
            "world.spawn_radius": SCATTERED_TILES,
            "world.pregenerate_radius_chunks": radius,
            "limits.chunk_cache_bytes_max": cache_bytes_max,
        },
    )
    with live_server(settings) as server:
        found: list[Ground] = []
        fleet = Fleet(_plan(server, players), Still)

        def mark(begins: bool) -> None:
            if begins:
                found.append(_made(server))

        fleet.on_window = mark
        drive(fleet, server)
    return found[0]


def _made(server: LiveServer) -> Ground:
    """Waits for the ground; the bots have nothing to do meanwhile."""
    latest = monotonic() + GROUND_S_MAX
    while (now := look_at(server))["landworld_chunks_waiting"]:
        if monotonic() > latest:
            raise BenchError(f"the ground was not made within {GROUND_S_MAX:.0f} s")
        sleep(0.1)
    return Ground(int(now["landworld_chunks_loaded"]), now["landworld_chunk_cache_bytes"], now.rss_kib)


def land(parcels: int) -> Point:
    """A server on a world in which so many own a plot."""
    with filled(parcels, Console(stderr=True)) as (data, _), live_server({}, data) as server:
        look = look_at(server)
        return Point(look["landworld_parcels"], look.rss_kib)


def _plan(server: LiveServer, count: int) -> Plan:
    return Plan(
        target=parse_target(server.url),
        count=count,
        seconds=0.1,
        behaviour="idle",
        sources=sources_for(count),
        settle_s=SETTLE_S,
    )
