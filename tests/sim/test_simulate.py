"""The simulation itself: the same seed runs the same way, a failure says which seed it was, time is virtual."""

import argparse
import asyncio
import json
import os
import subprocess
import sys
from random import Random

import pytest

from tools.simulate import _seeds, add_parser
from tools.simulate.clock import Process, Scheduler
from tools.simulate.disk import Tables
from tools.simulate.faults import FAULTS
from tools.simulate.town import Town

ACTIONS = 40


def command(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    line = [sys.executable, "-m", "tools.cli", "simulate", *arguments]
    return subprocess.run(line, capture_output=True, text=True, env={**os.environ, **environment})


def process() -> tuple[Scheduler, Process]:
    clock = Scheduler(Random(1))  # noqa: S311 (a die)
    return clock, clock.process("p")


def test_the_same_seed_runs_the_same_way_in_any_process() -> None:
    runs = [command("--seeds", "3..5", "--trace", PYTHONHASHSEED=seed) for seed in ("1", "2")]
    digests = [[line for line in run.stdout.splitlines() if "digest" in line] for run in runs]
    assert digests[0] == digests[1]
    assert len(set(digests[0])) == 2, "two seeds run two ways"
    first = Town(3, ACTIONS).run()
    assert f"seed 3: digest {first.digest}" in digests[0]


def test_the_last_line_says_what_was_run() -> None:
    run = command("--seeds", "0..2", "--json")
    report = json.loads(run.stdout.splitlines()[-1])
    assert run.returncode == 0, run.stdout
    assert (report["seeds"], report["actions"], report["violations"]) == (2, 2 * ACTIONS, 0)
    assert 0 < report["acknowledged"] <= report["actions"]
    assert report["faults"] > 0


@pytest.mark.parametrize(
    ("seeds", "words"), [("3..1", "holds no seed"), ("5..5", "holds no seed"), ("abc", "is no A..B")]
)
def test_no_seeds_are_wrong_use(seeds: str, words: str) -> None:
    """Guard: the look at --seeds. Nothing was tried, and so nothing was found: that is no success."""
    with pytest.raises(argparse.ArgumentTypeError, match=words):
        _seeds(seeds)
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(["simulate", "--seeds", seeds])
    assert ended.value.code == 2


def test_a_failure_ends_its_trace_and_names_its_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tables, "unstored", lambda _, entries: list(entries))
    outcome = next(one for one in (Town(seed, ACTIONS).run() for seed in range(20)) if one.violations)
    assert any(outcome.violations[-1] in line for line in outcome.trace[-3:])


def test_every_fault_happens_within_the_seeds_of_ci() -> None:
    seen: set[str] = set()
    for seed in range(60):
        seen |= Town(seed, ACTIONS).run().faults.keys()
    assert {fault.__name__ for fault in FAULTS} <= seen


# --- virtual time -----------------------------------------------------------------------------------------------------------------


def test_time_jumps_to_what_comes_next() -> None:
    clock, loop = process()
    woken: list[float] = []

    async def sleeper(seconds: float) -> None:
        await asyncio.sleep(seconds)
        woken.append(loop.time())

    for seconds in (3_600.0, 0.25, 60.0):
        loop.create_task(sleeper(seconds))
    clock.run(10_000.0)
    assert woken == [0.25, 60.0, 3_600.0]


def test_a_process_is_killed_between_two_steps() -> None:
    clock, loop = process()
    steps: list[int] = []
    for step in range(5):
        loop.call_soon(steps.append, step)
    loop.steps_left = 3
    clock.run(1.0)
    assert steps == [0, 1, 2]


def test_what_a_paused_process_misses_it_does_afterwards_in_order() -> None:
    clock, loop = process()
    done: list[tuple[str, float]] = []
    loop.call_at(1.0, lambda: done.append(("first", loop.time())))
    loop.call_at(2.0, lambda: done.append(("second", loop.time())))
    loop.pause(5.0)
    clock.after(3.0, loop.call_soon, lambda: done.append(("third", loop.time())))
    clock.run(10.0)
    assert done == [("first", 5.0), ("second", 5.0), ("third", 5.0)]
    assert loop.disturbed_since(4.0)
    assert not loop.disturbed_since(5.5)


def test_a_clock_that_jumps_brings_everything_nearer() -> None:
    clock, loop = process()
    done: list[tuple[float, float]] = []
    loop.call_at(100.0, lambda: done.append((clock.now_s, loop.time())))
    clock.after(1.0, loop.jump, 80.0)
    clock.run(1_000.0)
    assert done == [(20.0, 100.0)]


def test_a_time_out_ends_waiting_in_virtual_time() -> None:
    clock, loop = process()
    outcome: list[str] = []

    async def wait() -> None:
        try:
            async with asyncio.timeout(30.0):
                await asyncio.Event().wait()
        except TimeoutError:
            outcome.append(f"after {loop.time():.0f} s")

    loop.create_task(wait())
    clock.run(1_000.0)
    assert outcome == ["after 30 s"]
