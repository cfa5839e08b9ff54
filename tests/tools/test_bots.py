"""The bots: their half of WebSocket, their decisions, their arithmetic, and what they make of a server that misbehaves."""

import argparse
import json
import math
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgpack
import numpy as np
import pytest
from websockets.frames import Frame as PeerFrame
from websockets.frames import Opcode as PeerOpcode
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from protocol.errors import CloseCode, RefusalCode
from protocol.messages import Closing, Refused, Snapshot, Welcome, code_of
from protocol.snapshot import COUNT_LONG, RECORD, write_block
from tests.harness import serving
from tools import bots
from tools.bots import wire
from tools.bots.behaviour import BEHAVIOURS, COMMUTE_ENDS, PLAZA_TILES, ROAM_TILES, STAND, Place, random_of
from tools.bots.fleet import Bot, Fleet, FleetError, Plan, check_sources, parse_target
from tools.bots.report import SAMPLES_MAX, Samples, Tally, figures, percentile
from tools.bots.watch import Watcher, key_of, spot_in
from tools.crash.host import free_port

WALK_TILES = 2.0  # half a second of walking


# --- frames ---


def server_frame(payload: bytes, opcode: PeerOpcode = PeerOpcode.BINARY) -> bytes:
    """A frame as a server sends it, made by another implementation."""
    return PeerFrame(opcode, payload).serialize(mask=False)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, wire.FRAME_BYTES_MAX])
def test_a_frame_is_found_when_whole_and_only_then(size: int) -> None:
    payload = bytes(range(256)) * (size // 256) + bytes(range(size % 256))
    data = bytearray(b"before" + server_frame(payload) + b"after")
    begins, ends = 6, len(data) - 5
    cuts = range(begins, ends) if size < 1000 else (begins, begins + 1, begins + 9, begins + 10, ends - 1)
    for cut in cuts:
        assert wire.next_frame(data, begins, cut) is None
    found = wire.next_frame(data, begins, len(data))
    assert found is not None
    assert data[found.start : found.end] == payload
    assert (found.first, found.end) == (wire.BINARY_WHOLE, ends)


@pytest.mark.parametrize(
    ("data", "wrong"),
    [
        (PeerFrame(PeerOpcode.BINARY, b"x").serialize(mask=True), "masked"),
        (b"\x82\x7f" + (wire.FRAME_BYTES_MAX + 1).to_bytes(8, "big"), "a frame of"),
    ],
)
def test_what_no_server_sends_is_reported(data: bytes, wrong: str) -> None:
    with pytest.raises(wire.WireError, match=wrong):
        wire.next_frame(bytearray(data), 0, len(data))


def test_another_websocket_implementation_reads_what_a_bot_sends() -> None:
    peer = ServerProtocol(subprotocols=[Subprotocol("landworld.v1")])
    peer.receive_data(wire.upgrade_request("127.0.0.1:8765", "/"))
    (request,) = peer.events_received()
    assert isinstance(request, Request)
    peer.send_response(peer.accept(request))
    answer = bytearray(b"".join(peer.data_to_send()))
    assert [wire.upgrade_end(answer, cut) for cut in range(len(answer))] == [0] * len(answer)
    assert wire.upgrade_end(answer, len(answer)) == len(answer)

    payloads = [bytes(range(size % 256)) * (size // 255 or 1) for size in (0, 1, 5, 125, 126, 2100)]
    for payload in payloads:
        peer.receive_data(wire.frame(payload))
    peer.receive_data(wire.close_frame(CloseCode.NORMAL))
    received = [event for event in peer.events_received() if isinstance(event, PeerFrame)]
    assert [event.data for event in received[:-1]] == payloads
    assert received[-1].opcode is PeerOpcode.CLOSE
    assert wire.close_code(bytes(received[-1].data)) == CloseCode.NORMAL


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 403 Forbidden\r\n\r\n", b"HTTP/1.1 101 Hello\r\nUpgrade: websocket\r\n\r\n"]
)
def test_a_declined_handshake_is_reported(answer: bytes) -> None:
    with pytest.raises(wire.WireError, match="handshake"):
        wire.upgrade_end(bytearray(answer), len(answer))


# --- decisions ---


def walk(
    behaviour: str, seed: int, index: int, inputs: int, home: Place
) -> Iterator[tuple[Place, tuple[float, float]]]:
    """The places and intents of one bot on open ground."""
    mind = BEHAVIOURS[behaviour](random_of(seed, index), home)
    place = home
    for _ in range(inputs):
        dx, dy = mind.intent(*place)
        assert (dx, dy) == STAND or math.isclose(math.hypot(dx, dy), 1.0)
        place = Place(place.x + dx * WALK_TILES, place.y + dy * WALK_TILES)
        yield place, (dx, dy)


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_decisions_follow_from_seed_and_index_alone(behaviour: str) -> None:
    home = Place(10, -20)
    first = list(walk(behaviour, 7, 3, 200, home))
    assert first == list(walk(behaviour, 7, 3, 200, home))
    if behaviour not in ("idle", "mix"):
        assert first != list(walk(behaviour, 8, 3, 200, home))
        assert first != list(walk(behaviour, 7, 4, 200, home))


def test_a_wanderer_stays_about_where_it_appeared() -> None:
    home = Place(500, 500)
    ways = [math.dist(place, home) for place, _ in walk("wander", 1, 1, 2000, home)]
    assert max(ways) < ROAM_TILES * 2
    assert max(ways) > ROAM_TILES / 2


def test_an_idle_bot_stands() -> None:
    assert {intent for _, intent in walk("idle", 1, 1, 10, Place(3, 4))} == {STAND}


def test_a_crowd_gathers_at_one_place() -> None:
    for index in range(10):
        *_, (place, _) = walk("crowd", 1, index, 100, Place(60, 60))
        assert math.hypot(*place) < PLAZA_TILES + WALK_TILES


def test_a_commuter_reaches_both_ends_again_and_again() -> None:
    places = [place for place, _ in walk("commute", 1, 1, 400, Place(0, 0))]
    for end in COMMUTE_ENDS:
        assert sum(math.dist(place, end) < 3 * PLAZA_TILES for place in places) > 10


# --- arithmetic ---


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([], 0.5, None),
        ([3.0], 0.99, 3.0),
        ([4.0, 1.0, 3.0, 2.0], 0.5, 2.0),
        ([4.0, 1.0, 3.0, 2.0], 0.75, 3.0),
        ([4.0, 1.0, 3.0, 2.0], 1.0, 4.0),
        ([float(n) for n in range(100, 0, -1)], 0.99, 99.0),
        ([float(n) for n in range(100, 0, -1)], 0.0, 1.0),
    ],
)
def test_percentiles_are_nearest_ranks(values: list[float], share: float, expected: float | None) -> None:
    assert percentile(values, share) == expected


def test_samples_keep_the_latest() -> None:
    samples = Samples()
    for value in range(SAMPLES_MAX + 2):
        samples.add(value)
    assert len(samples) == SAMPLES_MAX
    assert min(samples.values) == 2
    samples.clear()
    assert len(samples) == 0


# --- what a watcher sees ---


def block(where: int, people: dict[int, tuple[int, int]], named: bool) -> bytes:
    """People by id, at places in units within their cell; `where` is dx * 16 + dy."""
    records = np.array([(who, x, y) for who, (x, y) in people.items()], RECORD)
    return write_block(*divmod(where, 16), records, named)


def watcher() -> Watcher:
    """Eyes without a bot."""
    fleet: Any = SimpleNamespace(tally=Tally())
    return Watcher(fleet, cast(Bot, None), random_of(1, 1))


def test_a_player_is_found_only_where_an_id_begins() -> None:
    trap = struct.pack("<II", 0x01020304, 0x05060708)  # holds 0x08010203 across two ids
    ids, places = trap + struct.pack("<I", 0x08010203), struct.pack("<6H", 1, 2, 3, 4, 5, 6)
    assert spot_in((ids, places), key_of(0x08010203), (-1, 2)) == (-65536 + 5, 2 * 65536 + 6)
    assert spot_in((ids, places), key_of(9), (0, 0)) is None
    assert spot_in((b"", b""), key_of(9), (0, 0)) is None


@pytest.mark.parametrize("others", [1, COUNT_LONG - 1, 300])
def test_a_watcher_knows_who_stands_where_though_ids_are_said_once(others: int) -> None:
    seen = watcher()
    crowd = {number: (number, 0) for number in range(100, 100 + others)}
    seen.snapshot(1, 0, 0, block(0, {7: (1, 2), **crowd}, True) + block(16, {8: (3, 4)}, True), 0)
    seen.snapshot(2, 0, 0, block(0, {0: (5, 6), **crowd}, False), 0)
    assert seen._seen_at(key_of(7)) == (5, 6)
    assert seen._seen_at(key_of(99 + others)) == (99 + others, 0)
    assert seen._seen_at(key_of(8)) == (65536 + 3, 4)
    seen.snapshot(3, 0, 0, block(0, crowd, True) + block(16, {8: (3, 4), 7: (0, 6)}, True), 0)
    assert seen._seen_at(key_of(7)) == (65536, 6)
    assert not seen._tally.errors


def test_a_block_that_does_not_fit_is_an_error_and_changes_nothing() -> None:
    seen = watcher()
    both = {7: (1, 2), 8: (3, 4)}
    seen.snapshot(1, 0, 0, block(0, both, True) + block(16, both, True), 0)
    for wrong in (block(0, {7: (9, 9)}, False), block(0, {**both, 9: (9, 9)}, False), block(1, both, False)):
        seen.snapshot(2, 0, 0, wrong, 0)
    assert seen._seen_at(key_of(7)) == (1, 2)
    seen.crowd(0, 0)
    seen.snapshot(3, 0, 0, block(0, both, False), 0)  # counted, not named
    seen.snapshot(4, -1, 0, block(0, both, True), 0)
    seen.snapshot(5, 0, 0, block(16, both, False), 0)  # was out of sight from (-1, 0)
    seen.viewed(0)
    seen.viewed(1)
    seen.snapshot(6, 0, 0, block(-16, both, False), 0)  # was out of sight with no ring around
    assert seen._tally.errors == {"snapshot out of step": 6}


# --- servers that misbehave ---


def greeting(player_id: int) -> list[object]:
    """A welcome."""
    return [
        code_of(Welcome),
        player_id,
        "bot",
        "guest",
        0.0,
        0.0,
        1,
        20,
        1,
        0,
        "a ticket",
        {"radius_cells": 1},
    ]


def snapshot(cells: bytes) -> bytes:
    """A snapshot taken from the cell (0, 0)."""
    packed: bytes = msgpack.packb([code_of(Snapshot), 1, 0, 0, cells])
    return packed


@contextmanager
def scripted(script: Callable[[socket.socket, int], None]) -> Iterator[str]:
    """A server that shakes hands, reads the hello, and then follows a script, one connection after the other. Yields its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for number in range(1000):
                try:
                    line, _ = listener.accept()
                except OSError:
                    return
                with line:
                    peer = ServerProtocol(subprotocols=[Subprotocol("landworld.v1")])
                    peer.receive_data(line.recv(4096))
                    (request,) = peer.events_received()
                    assert isinstance(request, Request)
                    peer.send_response(peer.accept(request))
                    line.sendall(b"".join(peer.data_to_send()))
                    line.recv(4096)
                    script(line, number)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{listener.getsockname()[1]}/"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def send(line: socket.socket, message: list[object]) -> None:
    """One message in one frame."""
    line.sendall(server_frame(msgpack.packb(message)))


def until_closed(line: socket.socket) -> None:
    """Read until the bot hangs up or says goodbye."""
    while data := line.recv(4096):
        if data[0] == 0x88:
            return


def run_one(url: str, stop_when: Callable[[Fleet], bool]) -> Fleet:
    """One bot, until something is so."""
    fleet = Fleet(Plan(parse_target(url), count=1, seconds=300, settle_s=0))

    def look(fleet: Fleet) -> None:
        if stop_when(fleet):
            fleet.stop()

    fleet.on_progress = look
    fleet.run()
    return fleet


def test_bytes_that_come_one_by_one_are_read_all_the_same() -> None:
    def script(line: socket.socket, number: int) -> None:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in server_frame(b"are you there", PeerOpcode.PING) + server_frame(
            msgpack.packb(greeting(7))
        ):
            line.sendall(bytes((byte,)))
        until_closed(line)

    with scripted(script) as url:
        fleet = run_one(url, lambda fleet: fleet.players == 1)
    assert fleet.player(7) is not None
    assert not fleet.tally.errors


def test_a_lost_line_is_resumed_with_the_ticket_and_counted() -> None:
    heard: list[bytes] = []

    def script(line: socket.socket, number: int) -> None:
        send(line, greeting(7))
        if number:
            heard.append(b"again")
            until_closed(line)

    with scripted(script) as url:
        fleet = run_one(url, lambda fleet: bool(heard))
    assert heard
    assert fleet.tally.lost == 1
    assert not fleet.tally.errors


def test_closing_says_when_to_come_back_and_is_obeyed() -> None:
    def script(line: socket.socket, number: int) -> None:
        send(line, greeting(7))
        if number:
            until_closed(line)
            return
        send(line, [code_of(Closing), int(CloseCode.GOING_AWAY), "restarting", 10, "another ticket"])
        line.sendall(server_frame(struct.pack(">H", CloseCode.GOING_AWAY), PeerOpcode.CLOSE))
        until_closed(line)

    with scripted(script) as url:
        fleet = run_one(url, lambda fleet: len(fleet.tally.returns_ms) == 1)
    assert (fleet.tally.sent_away, fleet.tally.lost, fleet.tally.errors.total()) == (1, 0, 0)


def test_closing_without_a_time_is_for_good() -> None:
    def script(line: socket.socket, number: int) -> None:
        send(line, greeting(7))
        send(line, [code_of(Closing), int(CloseCode.REPLACED), "you are elsewhere"])
        line.sendall(server_frame(struct.pack(">H", CloseCode.REPLACED), PeerOpcode.CLOSE))
        until_closed(line)

    with scripted(script) as url:
        fleet = run_one(url, lambda fleet: False)  # ends by itself: nobody is left
    assert list(fleet.tally.errors) == ["closed: REPLACED (you are elsewhere)"]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (
            msgpack.packb([code_of(Refused), 0, int(RefusalCode.WORLD_FULL), "full"]),
            "refused: WORLD_FULL (full)",
        ),
        (msgpack.packb([99]), "unknown message code 99"),
        (b"\xc1", "protocol: "),
        (msgpack.packb(greeting(7))[:-1], "cut short"),
        (b"", "hung up before the welcome"),
        (msgpack.packb(greeting(7)) + snapshot(block(0, {7: (1, 2)}, named=False)), "snapshot out of step"),
        (
            msgpack.packb(greeting(7)) + snapshot(block(0, {7: (1, 2)}, named=True)[:-1]),
            "ends within its records",
        ),
    ],
)
def test_each_error_is_counted_under_its_reason(payload: bytes, reason: str) -> None:
    def script(line: socket.socket, number: int) -> None:
        if payload:
            line.sendall(server_frame(payload))

    with scripted(script) as url:
        fleet = run_one(url, lambda fleet: bool(fleet.tally.errors))
    assert any(reason in known for known in fleet.tally.errors), fleet.tally.errors


# --- the command ---


def parse(*words: str) -> argparse.Namespace:
    """The arguments of `landworld bots`."""
    parser = argparse.ArgumentParser()
    bots.add_parser(parser.add_subparsers())
    return parser.parse_args(["bots", *words])


def test_without_a_server_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert bots.run(parse("--url", f"ws://127.0.0.1:{free_port()}/")) == bots.NOT_STARTED
    assert "landworld serve" in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.parametrize("url", ["http://127.0.0.1/", "ws://", "8765"])
def test_a_url_that_is_no_game_socket_is_explained(url: str) -> None:
    with pytest.raises(FleetError, match="ws://host:port/"):
        parse_target(url)


def test_source_addresses_are_for_loopback() -> None:
    with pytest.raises(FleetError, match="this machine"):
        check_sources(parse_target("ws://192.0.2.1:8765/"), 3)
    check_sources(parse_target("ws://127.0.0.1:8765/"), 3)


def test_nobody_there_gives_figures_without_times() -> None:
    def script(line: socket.socket, number: int) -> None:
        send(line, greeting(7))
        until_closed(line)

    with scripted(script) as url:
        fleet = Fleet(Plan(parse_target(url), count=1, seconds=0.2, settle_s=0))
        run = fleet.run()
    found = figures(run)
    assert (found["players"], found["errors"], found["lost"]) == (1, 0, 0)
    assert found["snapshot_hz_p50"] == 0
    assert found["input_to_neighbour_ms_p99"] is None
    assert json.loads(json.dumps(found)) == found


# --- a real server ---

COUNT = 20


@pytest.mark.alone
def test_twenty_bots_walk_a_real_server(data: Path) -> None:
    with serving(data) as server:
        picture = data / "bots.png"
        words = [
            "--count",
            f"{COUNT}",
            "--seconds",
            "3",
            "--url",
            server.url,
            "--talk",
            "20",
            "--behaviour",
            "mix",
        ]
        said = server.command("bots", *words, "--name", "walker", "--picture", str(picture), "--json")
        found = json.loads(said.splitlines()[-1])
        welcomed = server.metric("landworld_accepted_connections_total")
    assert (found["players"], found["errors"], found["lost"]) == (COUNT, 0, 0)
    assert found["probes_unseen"] == 0
    assert found["snapshot_hz_p50"] > 0
    assert found["in_sight_mean"] > 1
    assert found["inputs_per_s"] > 1
    assert found["chats_per_s"] > 0
    assert found["bytes_per_s"] == pytest.approx(found["bytes_per_s_per_client"] * COUNT, abs=1)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert welcomed >= COUNT


def test_bots_come_back_to_a_server_that_restarts(data: Path) -> None:
    with serving(data, {"SERVER__PORT": free_port()}) as server:
        fleet = Fleet(Plan(parse_target(server.url), count=COUNT, seconds=300, settle_s=0))

        def restart_once(fleet: Fleet) -> None:
            tally = fleet.tally
            if fleet.players == COUNT and not tally.sent_away:
                assert server.stop() == 0
                server.start()
            elif len(tally.returns_ms) == COUNT:
                fleet.stop()

        fleet.on_progress = restart_once
        fleet.run()
    assert fleet.tally.sent_away == COUNT
    assert len(fleet.tally.returns_ms) == COUNT
    assert (fleet.tally.lost, fleet.tally.errors.total()) == (0, 0)
