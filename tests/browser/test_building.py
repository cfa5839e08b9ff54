"""What is built, as the browser client has it: live, after an absence, and whatever order it is told in."""

import asyncio
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event

from protocol.edits import TILE_EDIT, pack
from protocol.messages import Ok, TileEdit
from tests.browser.conftest import OUTPUT, Visit
from tests.harness import Client, ServerProcess, serving
from tests.integration.database import nothing_stored
from tools.crash.host import free_port
from world.tiles import Build

BUILT = "w.at(a[0] + 0.5, a[1] + 0.5).built === a[2] && w.at(a[0] + 0.5, a[1] + 0.5).walk === a[3]"


def admin_token(server: ServerProcess) -> str:
    return server.command("token", "--name", "Mason", "--role", "admin").strip()


def build(server: ServerProcess, *tiles: tuple[int, int, int]) -> None:
    """As another client does it; in a thread, for playwright has a loop in this one."""

    async def run() -> None:
        mason = await Client.join(server, admin_token(server))
        for start in range(0, len(tiles), 64):
            edits = pack(tiles[start : start + 64], TILE_EDIT)
            assert isinstance(await mason.ask(TileEdit(next(mason.ids), os.urandom(16), edits)), Ok)
        await mason.leave()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, run()).result()


@contextmanager
def seen_and_not_stored(server: ServerProcess, tile: tuple[int, int, int]) -> Iterator[None]:
    """Meanwhile a tile is built that the database cannot take; then the server is killed."""
    seen = Event()

    async def run() -> None:
        mason = await Client.join(server, admin_token(server))
        async with nothing_stored(server.data):
            await mason.send(TileEdit(next(mason.ids), os.urandom(16), pack([tile], TILE_EDIT)))
            await asyncio.to_thread(seen.wait)
            server.kill()

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(asyncio.run, run())
        try:
            yield
        finally:
            seen.set()
        running.result()


def test_what_is_built_in_sight_is_there_at_once_and_blocks_the_way(
    world: ServerProcess, visit: Visit
) -> None:
    ada = visit(world).enter()
    ada.until("w.at(20.5, 20.5).walk >= 0")
    bare = ada.get("w.at(20.5, 20.5).walk")
    build(world, (20, 20, Build.WALL))
    ada.until(BUILT, [20, 20, Build.WALL, 0])
    build(world, (20, 20, Build.NOTHING))
    ada.until(BUILT, [20, 20, Build.NOTHING, bare])


def test_what_was_built_out_of_sight_comes_to_the_kept_ground(world: ServerProcess, visit: Visit) -> None:
    ada = visit(world).enter()
    build(world, (20, 24, Build.PAVING))
    ada.until(BUILT, [20, 24, Build.PAVING, 100])
    ada.until(
        "w.at(80.5, 80.5).walk >= 0 && w.stats.chunks.stored >= 49"
    )  # all that is wanted around a place: 7 x 7
    build(world, (80, 80, Build.FENCE))
    ada.page.reload()
    ada.until(BUILT, [80, 80, Build.FENCE, 0])
    ada.until(BUILT, [20, 24, Build.PAVING, 100])
    assert ada.get("w.stats.chunks.kept") > 0


def test_what_a_crash_undid_is_gone_though_others_built_as_much(data: Path, visit: Visit) -> None:
    """Guard: Chunks.enter takes what another start of the server told for nothing.

    Without it the page holds the version that the server has, with other tiles, and is never told.
    """
    settings = {"WORLD__SPAWN_RADIUS": 2, "SERVER__PORT": free_port(), "HTTP__PORT": free_port()}
    with serving(data, settings) as server:
        build(server, (20, 24, Build.PAVING))
        ada = visit(server).enter()
        ada.until(BUILT, [20, 24, Build.PAVING, 100])
        with seen_and_not_stored(server, (20, 20, Build.WALL)):
            ada.until(BUILT, [20, 20, Build.WALL, 0])
    with serving(data, settings) as again:
        build(again, (20, 22, Build.PATH))
        ada.until(BUILT, [20, 22, Build.PATH, 100])
        ada.until("w.at(20.5, 20.5).built === 0 && w.at(20.5, 20.5).walk > 0")
        ada.until(BUILT, [20, 24, Build.PAVING, 100])


def test_a_token_in_the_address_bar_signs_in_once_and_is_taken_out(
    world: ServerProcess, visit: Visit
) -> None:
    mason = visit(world, f"#token={admin_token(world)}").enter()
    assert mason.get("w.me.name") == "Mason"
    assert "token" not in mason.page.url
    mason.page.reload()
    mason.until("w.state === 'playing'")
    assert mason.get("w.me.name") == "Mason"


def test_a_bad_token_is_told_and_nobody_enters(world: ServerProcess, visit: Visit) -> None:
    ada = visit(world, "#token=forged")
    ada.until("w.state === 'refused'")


CHUNKS = """
async () => {
  const { Chunks } = await import("/chunks.js");
  const pressed = new Blob([new Uint8Array(7 * 1024 + 2).fill(7, 1024, 2048)]).stream().pipeThrough(new CompressionStream("deflate"));
  const data = new Uint8Array(await new Response(pressed).arrayBuffer());
  const asked = [];
  let answer;
  const connection = { request: (name, { cx, cy, version }) => new Promise((resolve) => {
    if (cx === 0 && cy === 0) { asked.push(version ?? null); answer = resolve; }
  }) };
  const settled = () => new Promise((resolve) => setTimeout(resolve)); // all that waits for nothing but itself
  const chunks = new Chunks(connection, { arrived() {}, built() {}, gone() {} });
  const edits = (from_version, version, ...tiles) =>
    chunks.edited({ cx: 0, cy: 0, from_version, version, edits: new Uint8Array(tiles.flatMap(([tile, kind]) => [tile, 0, kind])) });
  const look = () => [0, 1, 2].map((tile) => chunks.builtAt(tile, 0));
  const seen = [];
  const ground = `test ${Math.random()}`;
  chunks.enter(ground, "one", 1);
  chunks.sees(0, 0, 1);
  for (let turn = 0; turn < 200 && !asked.length; turn += 1) { chunks.around(0, 0, performance.now()); await settled(); }
  const taking = chunks.arrived({ cx: 0, cy: 0, version: 1, data });
  edits(1, 3, [0, 4], [1, 1]);            // with the chunk, in one message, before it is unpacked
  answer({ delivery: 2 });
  await taking;
  await settled();
  seen.push(["with the chunk", look(), chunks.walkAt(0, 0), chunks.walkAt(2, 0)]);
  edits(2, 3, [1, 6]);
  seen.push(["old ones are passed over", look()]);
  edits(2, 4, [1, 1], [2, 2]);
  seen.push(["ones that reach back are applied", look()]);
  chunks.around(0, 0, performance.now());
  seen.push(["nothing to ask", asked.slice()]);
  edits(6, 7, [2, 0]);
  seen.push(["a gap is not applied", look()]);
  chunks.around(0, 0, performance.now());
  await settled();
  seen.push(["but asked for", asked.slice()]);
  edits(4, 7, [0, 0], [2, 0]);
  answer({ delivery: 1 });
  await settled();
  seen.push(["and mended", look(), chunks.walkAt(0, 0)]);
  chunks.sees(9, 9, 1);
  chunks.sees(0, 0, 1);
  chunks.around(0, 0, performance.now());
  await settled();
  seen.push(["asked when it comes into sight", asked.slice()]);
  chunks.sees(9, 9, 1);
  chunks.sees(0, 0, 1);
  answer({ delivery: 0 });
  await settled();
  chunks.around(0, 0, performance.now());
  await settled();
  seen.push(["and once more where the answer may be from before", asked.slice()]);
  answer({ delivery: 0 });
  await settled();
  chunks.sees(9, 9, 1);
  const again = async (builtId) => {
    chunks.enter(ground, builtId, 1);
    chunks.sees(0, 0, 1);
    chunks.around(0, 0, performance.now());
    await settled();
  };
  asked.length = 0;
  await again("one");
  seen.push(["a line that broke changes nothing", asked.slice(), look()]);
  await again("two");
  seen.push(["under another name it counts as bare", asked.slice(), look()]);
  edits(1, 7, [2, 5]);
  answer({ delivery: 1 });
  await settled();
  seen.push(["and what never was is gone", look(), chunks.walkAt(1, 0)]);
  await again("three");
  answer({ delivery: 0 });
  await settled();
  seen.push(["also where nothing is built", asked.slice(), look(), chunks.walkAt(2, 0)]);
  return seen;
}
"""


def test_edits_are_applied_asked_for_and_mended_by_their_versions(world: ServerProcess, visit: Visit) -> None:
    page = visit(world).page
    assert page.evaluate(CHUNKS) == [
        ["with the chunk", [4, 1, 0], 0, 7],
        ["old ones are passed over", [4, 1, 0]],
        ["ones that reach back are applied", [4, 1, 2]],
        ["nothing to ask", [None]],
        ["a gap is not applied", [4, 1, 2]],
        ["but asked for", [None, 4]],
        ["and mended", [0, 1, 0], 7],
        ["asked when it comes into sight", [None, 4, 7]],
        ["and once more where the answer may be from before", [None, 4, 7, 7]],
        ["a line that broke changes nothing", [7], [0, 1, 0]],
        ["under another name it counts as bare", [7, 1], [0, 1, 0]],
        ["and what never was is gone", [0, 0, 5], 7],
        ["also where nothing is built", [7, 1, 1], [0, 0, 0], 7],
    ]


def village() -> dict[tuple[int, int], int]:
    """A house with a door, a yard, a fold and a hedge, with paths between."""
    tiles: dict[tuple[int, int], int] = {}

    def fill(xs: range, ys: range, kind: Build) -> None:
        tiles.update({(x, y): kind for x in xs for y in ys})

    fill(range(-8, 1), range(-9, -2), Build.WALL)
    fill(range(-7, 0), range(-8, -3), Build.FLOOR)
    fill(range(-4, -3), range(-3, -2), Build.FLOOR)
    fill(range(3, 8), range(-3, 2), Build.PAVING)
    fill(range(-12, -5), range(5, 10), Build.FENCE)
    fill(range(-11, -6), range(6, 9), Build.NOTHING)
    fill(range(-9, -8), range(5, 6), Build.NOTHING)
    fill(range(1, 10), range(6, 7), Build.HEDGE)
    fill(range(9, 10), range(6, 10), Build.HEDGE)
    fill(range(-4, -3), range(-2, 9), Build.PATH)
    fill(range(-10, 12), range(3, 4), Build.PATH)
    fill(range(5, 6), range(2, 3), Build.PATH)
    return tiles


def test_a_village(visit: Visit) -> None:
    """A picture of it is kept."""
    with serving(None, {"WORLD__SPAWN_RADIUS": 2}) as server:
        build(server, *((x, y, kind) for (x, y), kind in village().items()))
        ada = visit(server, "?hour=10", viewport={"width": 1280, "height": 800}).enter()
        ada.until("w.at(-8, -9).built === 4 && w.stats.chunks.known >= 40 && w.stats.chunks.waiting === 0")
        OUTPUT.mkdir(exist_ok=True)
        ada.page.screenshot(path=OUTPUT / "browser-village.png")
