"""The journal between tick and disk: how far memory may lead, and what leaves it when."""

import pytest

from persistence.journal import JOURNAL_AGE_S, JOURNAL_BYTES_MAX, JOURNAL_ENTRIES_MAX, Journal
from tests.persistence.support import Chronicle, claim
from tests.world.support import ADA
from world.entries import Entry


@pytest.fixture
def entries() -> list[Entry]:
    told = Chronicle()
    for place in range(4):
        told.do(ADA, claim(2 * place, 0))
    return told.entries


def test_the_lead_is_what_was_promised() -> None:
    assert (JOURNAL_ENTRIES_MAX, JOURNAL_BYTES_MAX, JOURNAL_AGE_S) == (2_000, 8 * 1_048_576, 1.7)


def test_room_shrinks_with_each_entry_and_its_bytes_and_comes_back(entries: list[Entry]) -> None:
    """Guards: both terms of Journal.room, and what settle gives back."""
    journal = Journal(0)
    assert journal.room(5.0) == (JOURNAL_ENTRIES_MAX, JOURNAL_BYTES_MAX)
    journal.put(entries, 5.0)
    size = sum(len(entry.record) for entry in entries)
    assert journal.room(5.0) == (JOURNAL_ENTRIES_MAX - 4, JOURNAL_BYTES_MAX - size)
    journal.settle(3)
    assert (len(journal), journal.bytes, journal.durable_seq) == (1, len(entries[3].record), 3)
    journal.settle(4)
    assert journal.room(5.0) == (JOURNAL_ENTRIES_MAX, JOURNAL_BYTES_MAX)


def test_there_is_no_room_while_the_oldest_entry_has_waited_too_long(entries: list[Entry]) -> None:
    """Guard: the age in Journal.room. A database that is away is noticed after 2 s, however little was written."""
    journal = Journal(0)
    journal.put(entries[:1], 10.0)
    journal.put(entries[1:], 11.5)
    assert journal.room(10.0 + JOURNAL_AGE_S) != (0, 0)
    assert journal.room(10.1 + JOURNAL_AGE_S) == (0, 0)
    journal.settle(1)
    assert journal.room(10.1 + JOURNAL_AGE_S) != (0, 0)


def test_room_may_be_nothing_and_less(entries: list[Entry]) -> None:
    journal = Journal(0, entries_max=3)
    journal.put(entries, 0.0)
    assert journal.room(0.0)[0] < 0


def test_a_batch_is_the_oldest_and_stays(entries: list[Entry]) -> None:
    journal = Journal(0)
    journal.put(entries, 0.0)
    assert journal.next_batch(2) == journal.next_batch(2) == entries[:2]
    assert len(journal) == 4


def test_the_durable_place_never_falls(entries: list[Entry]) -> None:
    journal = Journal(last_seq=0)
    journal.put(entries, 0.0)
    journal.settle(2)
    journal.settle(1)
    assert journal.durable_seq == 2


def test_who_saves_is_woken_by_entries_and_by_nothing_else(entries: list[Entry]) -> None:
    woken: list[bool] = []
    journal = Journal(0)
    journal.wake = lambda: woken.append(True)
    journal.put([], 0.0)
    assert woken == []
    journal.put(entries, 0.0)
    assert woken == [True]
