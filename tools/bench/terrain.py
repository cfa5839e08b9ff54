"""`landworld bench terrain`: chunks a second on one core, beside plain opensimplex noise of as many samples in the same run.

The peer is what anyone would write first: `opensimplex.noise2array`, held to one thread. It only fills arrays with noise, while a
chunk is also shaped, coloured, lit and planted: the ratio says how much of the bare noise's speed is left after all that.
"""

import argparse
import json
import time
import zlib
from collections.abc import Callable

import numba
import numpy as np
import opensimplex

from world import landscape
from world.terrain import CHUNK_TILES, Chunk, Terrain, encode, walk_speed

CHUNKS_PER_S_FLOOR = 2_000
ZLIB_LEVELS = (1, 2, 3, 4, 5, 6)
SIDE_CHUNKS = 32  # a round makes a square of this many chunks a side


def rate(work: Callable[[], int], seconds: float) -> float:
    """Pieces a second of `work`, which returns how many it made, repeated for about `seconds`; the best round counts."""
    best = 0.0
    ends = time.perf_counter() + seconds
    while True:
        start = time.perf_counter()
        made = work()
        now = time.perf_counter()
        best = max(best, made / (now - start))
        if now >= ends:
            return best


def noise_round(samples: int, count: int) -> int:
    """Sample plain noise for `count` chunks, `samples` each, at the spacing of a middle octave."""
    y = np.zeros(1)
    for i in range(count):
        opensimplex.noise2array(np.arange(i, i + samples) / 39.0, y)
    return count


def measure(seed: int, seconds: float) -> dict[str, float]:
    """All figures; keys end in their unit."""
    start = time.perf_counter()
    Terrain.warm_up()
    figures = {"warm_up_s": time.perf_counter() - start}
    terrain = Terrain(seed)
    wanted = [(i % SIDE_CHUNKS - 16, i // SIDE_CHUNKS - 16) for i in range(SIDE_CHUNKS**2)]
    chunks: list[Chunk] = []

    def generate() -> int:
        chunks[:] = [terrain.generate(cx, cy) for cx, cy in wanted]
        return len(chunks)

    figures["chunks_per_s"] = rate(generate, seconds)
    samples = landscape.noise_samples(CHUNK_TILES)
    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        noise_round(samples, 1)
        figures["noise2array_chunks_per_s"] = rate(lambda: noise_round(samples, len(wanted)), seconds)
    finally:
        numba.set_num_threads(threads)
    figures["noise_samples_per_chunk"] = samples
    figures["ratio_to_noise2array"] = figures["chunks_per_s"] / figures["noise2array_chunks_per_s"]
    figures["walk_speed_per_s"] = rate(lambda: len([walk_speed(chunk) for chunk in chunks]), seconds / 4)
    payloads = [encode(chunk) for chunk in chunks]
    figures["encode_per_s"] = rate(lambda: len([encode(chunk) for chunk in chunks]), seconds / 4)
    figures["payload_bytes"] = sum(map(len, payloads)) / len(payloads)
    for level in ZLIB_LEVELS:
        packed = [zlib.compress(payload, level) for payload in payloads]
        figures[f"zlib_{level}_bytes"] = sum(map(len, packed)) / len(packed)
        figures[f"zlib_{level}_per_s"] = rate(
            lambda level=level: len([zlib.compress(payload, level) for payload in payloads]),  # type: ignore[misc]
            seconds / 4,
        )
    return {key: round(value, 3) for key, value in figures.items()}


def report(figures: dict[str, float]) -> None:
    """Print the figures for a person."""
    print(
        f"warm-up                {figures['warm_up_s']:9.2f} s (seconds on the first start, then from the cache)"
    )
    print(
        f"chunks                 {figures['chunks_per_s']:9,.0f} /s on one core (floor {CHUNKS_PER_S_FLOOR:,})"
    )
    samples = figures["noise_samples_per_chunk"]
    print(
        f"noise2array, as many   {figures['noise2array_chunks_per_s']:9,.0f} /s ({samples:,.0f} samples a chunk)"
    )
    print(f"ratio                  {figures['ratio_to_noise2array']:9.2f} x the plain noise")
    print(f"walk speeds            {figures['walk_speed_per_s']:9,.0f} /s")
    print(f"encode                 {figures['encode_per_s']:9,.0f} /s, {figures['payload_bytes']:,.0f} bytes")
    for level in ZLIB_LEVELS:
        size, speed = figures[f"zlib_{level}_bytes"], figures[f"zlib_{level}_per_s"]
        print(f"zlib level {level}           {speed:9,.0f} /s, {size:,.0f} bytes")


def run(args: argparse.Namespace) -> int:
    """Measure and print; 1 when below the floor."""
    figures = measure(args.seed, args.seconds)
    report(figures)
    if args.json:
        print(json.dumps(figures))
    return 0 if figures["chunks_per_s"] >= CHUNKS_PER_S_FLOOR else 1


def add_parser(sub: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `terrain` to `landworld bench`."""
    parser = sub.add_parser(
        "terrain", help="chunks a second on one core, beside plain noise", description=__doc__
    )
    parser.add_argument("--seed", type=int, default=1, help="the world's seed (default 1)")
    parser.add_argument(
        "--seconds", type=float, default=2.0, help="length of each measurement in s (default 2)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.set_defaults(run=run)
