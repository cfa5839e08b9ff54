"""`landworld bench browser`: what a crowd in sight costs the browser client.

A server of its own, so many bots within sight of one place, and one page in Chromium among them. Measured is the JavaScript of
each frame (from the start of the frame to the end of its drawing calls), told as its share of the time a frame has at 60 Hz. How
many frames come out besides depends on who draws, so the renderer's name stands beside it: without a graphics card the processor
draws, and frames a second say more about it than about the client.
"""

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from rich.console import Console

from tools.bench.live import BenchError, live_server

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--no-sandbox",
    "--enable-unsafe-swiftshader",
    "--disable-gpu-watchdog",  # a processor that draws may be slow
    "--disable-background-networking",
    "--disable-component-update",
)
BUDGET_MS = 1000 / 60
WAIT_MS = 120_000
SPAWN_TILES = 14  # so near to the middle that all are in sight, most of them on the screen

IN = """
(count) => {
  const w = window.landworld;
  return w?.entered && w.stats.entities > count && w.stats.chunks.waiting === 0;
}
"""
RECORD = """
() => {
  const real = window.requestAnimationFrame.bind(window);
  const seen = { works: [], began: performance.now(), at: 0 };
  window.requestAnimationFrame = (callback) => real((at) => {
    const start = performance.now();
    callback(at);
    if (at !== seen.at) seen.works.push(0); // several callbacks of one frame have the same time
    seen.at = at;
    seen.works[seen.works.length - 1] += performance.now() - start;
  });
  window.landworldBench = seen;
}
"""
READ = """
() => {
  const { works, began } = window.landworldBench;
  return { works, ms: performance.now() - began, in_sight: window.landworld.stats.entities - 1 };
}
"""
RENDERER = """
() => {
  const gl = document.createElement("canvas").getContext("webgl2");
  const info = gl.getExtension("WEBGL_debug_renderer_info");
  return String(gl.getParameter(info ? info.UNMASKED_RENDERER_WEBGL : gl.RENDERER));
}
"""


def add_parser(sub: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register `landworld bench browser`."""
    parser = sub.add_parser("browser", help="a crowd in sight of the browser client", description=__doc__)
    parser.add_argument("--players", type=int, default=200, metavar="N", help="bots in sight (default 200)")
    parser.add_argument("--seconds", type=int, default=10, metavar="S", help="measured time (default 10)")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; exit code 0 also when it is skipped for want of a browser, 2 when it could not run."""
    try:
        from playwright.sync_api import Error
    except ImportError:
        print("skipped: playwright is not installed (make install)")
        return 0
    chromium = next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    if chromium is None:
        print(f"skipped: Chromium is not installed (looked for {', '.join(CHROMIUM_NAMES)})")
        return 0
    try:
        found = measure(chromium, args.players, args.seconds)
    except (BenchError, Error) as error:
        Console(stderr=True).print(f"[red]{error}[/]", highlight=False)
        return 2
    if args.json:
        print(json.dumps(found))
    else:
        print(
            f"{found['in_sight']} people in sight, {found['fps']} frames/s drawn by {found['renderer']}\n"
            f"JavaScript of a frame: p50 {found['script_ms_p50']} ms, p99 {found['script_ms_p99']} ms: "
            f"{found['budget_share_p50']} and {found['budget_share_p99']} of a frame's time at 60 Hz"
        )
    return 0


def measure(chromium: str, players: int, seconds: int) -> dict[str, Any]:
    """The whole bench: server, bots, page."""
    from playwright.sync_api import ViewportSize, sync_playwright

    settings = {
        "world.spawn_radius": SPAWN_TILES,
        "interest.hold_s": 300,  # it is the client that is measured: all stay in its sight
        "log.level": "warning",
    }
    with live_server(settings) as server, _bots(server.url, players), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS, timeout=WAIT_MS)
        page = browser.new_context(viewport=ViewportSize(width=1280, height=800)).new_page()
        page.set_default_timeout(WAIT_MS)
        page.goto(server.page)
        page.wait_for_function(IN, arg=players, timeout=WAIT_MS)
        page.click("#welcome-go")
        page.evaluate(RECORD)
        page.wait_for_timeout(seconds * 1000)
        seen, renderer = page.evaluate(READ), page.evaluate(RENDERER)
        browser.close()
    p50, p99 = (float(one) for one in np.percentile(seen["works"], (50, 99)))
    return {
        "in_sight": seen["in_sight"],
        "frames": len(seen["works"]),
        "fps": round(len(seen["works"]) * 1000 / seen["ms"], 1),
        "script_ms_p50": round(p50, 2),
        "script_ms_p99": round(p99, 2),
        "budget_share_p50": round(p50 / BUDGET_MS, 3),
        "budget_share_p99": round(p99 / BUDGET_MS, 3),
        "renderer": renderer,
    }


@contextmanager
def _bots(url: str, count: int) -> Iterator[None]:
    """Bots in a process of their own, so that they walk while the page is asked."""
    command = [sys.executable, "-m", "tools.cli", "bots", "--resident", "--url", url, "--count", str(count)]
    bots = subprocess.Popen(command)
    try:
        yield
    finally:
        bots.terminate()
        bots.wait()
