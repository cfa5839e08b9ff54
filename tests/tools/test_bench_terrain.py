"""`landworld bench terrain`: what it reports, not how fast this machine is."""

import argparse
import json

import numba
import pytest

from tools.bench.terrain import CHUNKS_PER_S_FLOOR, add_parser, measure
from world import landscape


def test_the_last_line_is_json_with_units_in_its_keys(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers(required=True))
    args = parser.parse_args(["terrain", "--seconds", "0.01", "--json"])
    code = args.run(args)
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert code == (0 if figures["chunks_per_s"] >= CHUNKS_PER_S_FLOOR else 1)
    assert figures["ratio_to_noise2array"] == pytest.approx(
        figures["chunks_per_s"] / figures["noise2array_chunks_per_s"], abs=0.001
    )
    assert figures["zlib_6_bytes"] < figures["zlib_1_bytes"] < figures["payload_bytes"]
    assert min(value for name, value in figures.items() if name != "warm_up_s") > 0  # warm already, perhaps


def test_the_peer_is_held_to_one_thread_and_let_go_again() -> None:
    before = numba.get_num_threads()
    measure(seed=2, seconds=0.01)
    assert numba.get_num_threads() == before


def test_samples_are_counted_as_the_kernel_takes_them() -> None:
    """11 x 11 nodes of the shape, 7 x 7 of the climate, 33 x 33 corners for a chunk of 32."""
    assert landscape.noise_samples(32) == 15 * 121 + 12 * 49 + 4 * 33 * 33
