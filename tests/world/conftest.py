"""Kernels are compiled when they are first called: no test pays for another."""

import pytest

from world.tick import warm_up


@pytest.fixture(scope="session", autouse=True)
def _compiled() -> None:
    warm_up()
