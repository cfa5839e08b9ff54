"""Tests share the machine, but for those marked `alone`; the lock is in tests/conftest.py."""

import fcntl

import pytest

from tests.conftest import MACHINE, locked


def would_begin(how: int) -> bool:
    """Whether a test of another worker could begin now."""
    try:
        with locked(MACHINE, how | fcntl.LOCK_NB):
            return True
    except BlockingIOError:
        return False


@pytest.mark.alone
def test_beside_a_test_that_is_alone_no_other_begins() -> None:
    """Guard: conftest.pytest_runtest_protocol."""
    assert not would_begin(fcntl.LOCK_SH)


def test_beside_another_test_one_that_is_to_be_alone_does_not_begin() -> None:
    """Guard: conftest.pytest_runtest_protocol."""
    assert would_begin(fcntl.LOCK_SH)
    assert not would_begin(fcntl.LOCK_EX)
