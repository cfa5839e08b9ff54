"""Quiet logs and compiled kernels, as the command has them; the collector stays as it is."""

import gc
import logging
from collections.abc import Iterator

import pytest
import structlog

from world.tick import warm_up


@pytest.fixture(autouse=True)
def _prepared() -> Iterator[None]:
    warm_up()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()
    gc.collect()
