"""Kernels are compiled when they are first called: no example may be too slow for that, and no test pays for another."""

import pytest
from hypothesis import settings

from world.tick import warm_up

settings.register_profile("compiled", deadline=None)
settings.load_profile("compiled")


@pytest.fixture(scope="session", autouse=True)
def _compiled() -> None:
    warm_up()
