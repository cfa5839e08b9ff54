"""`landworld bench grid`: the world's spatial grid beside scipy's cKDTree, in the same run, on one core.

Both are given 10,000 players, four to a 32 x 32 cell, and do what one tick needs at worst: index all places anew, then find
everyone in the square of 3 x 3 cells around each occupied cell. Those in one cell see the same, so that is every player's
visible set. The tree answers the same squares in one call (`query_ball_point`, maximum norm). The sets must be equal.
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from protocol.snapshot import CELL_TILES
from world.grid import Grid

PLAYERS = 10_000
PLAYERS_PER_CELL = 4
ROUNDS = 7  # the best of them counts: what disturbs only ever adds
REACH_TILES = 1.5 * CELL_TILES  # from the middle of a cell to the edge of the 3 x 3 around it

Sets = list[NDArray[np.int32]]


def add_parser(sub: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register `landworld bench grid`."""
    parser = sub.add_parser("grid", help="the spatial grid beside scipy's cKDTree", description=__doc__)
    parser.add_argument("--players", type=int, default=PLAYERS, metavar="N", help="(default 10000)")
    parser.add_argument("--seed", type=int, default=1, metavar="K", help="of the places (default 1)")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; exit code 1 when the two disagree, 2 without scipy."""
    try:
        found = measure(args.players, args.seed)
    except ModuleNotFoundError as error:
        Console(stderr=True).print(
            f"[red]the peer of this bench is missing ({error}): `make install` brings it[/]"
        )
        return 2
    console = Console(stderr=args.json)
    lines = [
        f"{found['players']:,} players in {found['cells']:,} cells; {found['in_sight_mean']:.1f} in sight of each",
        f"index all        grid {found['grid_rebuild_ms']:8.2f} ms   cKDTree {found['tree_build_ms']:8.2f} ms",
        f"visible sets     grid {found['grid_sets_ms']:8.2f} ms   cKDTree {found['tree_sets_ms']:8.2f} ms",
        f"[bold]both: the grid is {found['speedup_ratio']:.2f} times as fast[/]",
        "the sets are equal" if found["equal"] else "[red]the sets differ[/]",
    ]
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)
    if args.json:
        print(json.dumps(found))
    return 0 if found["equal"] else 1


def measure(players: int, seed: int) -> dict[str, Any]:
    """All figures; keys end in their unit."""
    from scipy.spatial import cKDTree  # for benches only: not among what the server needs

    places, cells = _crowd(players, seed)
    x, y = np.ascontiguousarray(places[:, 0]), np.ascontiguousarray(places[:, 1])
    middles = (cells + 0.5) * CELL_TILES
    slots = np.arange(players, dtype=np.int32)
    grid = Grid(players)

    def look() -> Sets:
        corners = (middles - REACH_TILES).tolist()
        side = 2 * REACH_TILES
        return [grid.rectangle(left, top, left + side, top + side, x, y, slots) for left, top in corners]

    tree = cKDTree(places)
    rebuild_ms, _ = _best_ms(lambda: grid.rebuild(slots, x, y))
    build_ms, _ = _best_ms(lambda: cKDTree(places))
    sets_ms, ours = _best_ms(look)
    tree_sets_ms, theirs = _best_ms(
        lambda: tree.query_ball_point(middles, REACH_TILES, p=math.inf, return_sorted=True)
    )
    here = {tuple(cell): one for cell, one in zip(cells.tolist(), ours, strict=True)}
    sizes = [len(here[key]) - 1 for key in map(tuple, _cells_of(places).tolist())]
    return {
        "players": players,
        "cells": len(cells),
        "in_sight_mean": round(float(np.mean(sizes)), 2),
        "grid_rebuild_ms": round(rebuild_ms, 3),
        "grid_sets_ms": round(sets_ms, 3),
        "tree_build_ms": round(build_ms, 3),
        "tree_sets_ms": round(tree_sets_ms, 3),
        "speedup_ratio": round((build_ms + tree_sets_ms) / (rebuild_ms + sets_ms), 3),
        "equal": all(a.tolist() == b for a, b in zip(ours, theirs, strict=True)),
    }


def _crowd(players: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Places of all, and the cells that somebody stands in."""
    side = CELL_TILES * math.sqrt(players / PLAYERS_PER_CELL)
    places = np.random.default_rng(seed).uniform(-side / 2, side / 2, (players, 2))
    return places, np.unique(_cells_of(places), axis=0)


def _cells_of(places: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.floor(places / CELL_TILES).astype(np.int64)


def _best_ms(work: Callable[[], Any]) -> tuple[float, Any]:
    """The shortest of some rounds, and what the work answered; a first round warms up."""
    answer = work()
    best = math.inf
    for _ in range(ROUNDS):
        began = time.perf_counter()
        answer = work()
        best = min(best, time.perf_counter() - began)
    return best * 1000, answer
