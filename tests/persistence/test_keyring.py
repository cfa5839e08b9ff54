"""Rings of keys and their files: made once, for their owner only, whole or not there; a change loses no key."""

import fcntl
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from persistence import files, keyring
from persistence.keyring import (
    KEY_BYTES,
    KEY_BYTES_MIN,
    KEYS_MAX,
    RIPE_MS,
    Key,
    Ring,
    changing,
    load_ring,
    load_secret,
    made,
    read_ring,
    replace_ring,
)

NOW_MS = 1_800_000_000_000
DAY_MS = 86_400_000
FILE = "some.key"
RACERS = 4
THEIRS = b"t" * KEY_BYTES


def test_a_ring_is_made_once_and_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "not" / "there" / FILE
    ring = load_ring(path, NOW_MS)
    assert [len(key.secret) for key in ring.keys] == [KEY_BYTES]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_ring(path, NOW_MS + 1) == ring
    assert [one.name for one in path.parent.iterdir()] == [FILE]  # nothing half-made is left


def test_a_file_that_is_a_key_by_itself_is_the_oldest_of_its_ring(tmp_path: Path) -> None:
    path = tmp_path / FILE
    path.write_bytes(THEIRS)
    ring = load_ring(path, NOW_MS)
    assert ring == Ring.of(THEIRS)
    replace_ring(path, ring.with_new(NOW_MS, None))
    assert [key.made_at_ms for key in read_ring(path).keys] == [0, NOW_MS]
    assert read_ring(path).keys[0].secret == THEIRS


def test_a_ring_is_read_as_it_was_written(tmp_path: Path) -> None:
    ring = Ring((Key(b"a" * 40), Key(b"b" * 32, 5, 7), Key(b"c" * 32, 6)))
    replace_ring(tmp_path / FILE, ring)
    assert read_ring(tmp_path / FILE) == ring
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600


def test_an_id_follows_from_the_key_and_a_key_shows_no_secret() -> None:
    key = Key(b"secret" * 6, 1)
    assert key.id == Key(b"secret" * 6, 2, 3).id != Key(b"Secret" * 6, 1).id
    assert repr(key) == f"Key({key.id})"
    assert repr(Ring((key,))) == f"Ring({key.id})"


@pytest.mark.parametrize(
    ("after_ms", "current"),
    [(-DAY_MS, 0), (0, 0), (RIPE_MS - 1, 0), (RIPE_MS, 1), (DAY_MS, 1)],
    ids=["clock set back", "just made", "almost ripe", "ripe", "long after"],
)
def test_a_new_key_is_current_when_it_is_ripe(after_ms: int, current: int) -> None:
    """Guard: RIPE_MS in Ring.current."""
    ring = Ring((Key(b"a" * 32),)).with_new(NOW_MS, DAY_MS)
    assert ring.current(NOW_MS + after_ms) is ring.keys[current]


def test_the_first_key_is_current_at_once() -> None:
    ring = Ring((made(NOW_MS),))
    assert ring.current(NOW_MS) is ring.keys[0]
    assert ring.current(NOW_MS - DAY_MS) is ring.keys[0]


def test_an_older_key_reads_for_so_long_and_no_longer() -> None:
    first = made(NOW_MS - DAY_MS)
    ring = Ring((first,)).with_new(NOW_MS, 7 * DAY_MS)
    end_ms = NOW_MS + RIPE_MS + 7 * DAY_MS
    assert ring.get(first.id, end_ms - 1) == Key(first.secret, first.made_at_ms, end_ms)
    assert ring.get(first.id, end_ms) is None
    again = ring.with_new(NOW_MS + DAY_MS, 7 * DAY_MS)
    assert again.get(first.id, end_ms - 1) is not None  # another rotation does not put its end off
    assert again.get(first.id, end_ms) is None
    assert first.id not in again.with_new(end_ms, 7 * DAY_MS)


def test_a_ring_has_no_end_without_a_limit() -> None:
    """Guard: KEYS_MAX in Ring.with_new."""
    ring = Ring((made(NOW_MS),))
    for _ in range(KEYS_MAX - 1):
        ring = ring.with_new(NOW_MS, None)
    with pytest.raises(ValueError, match=f"{KEYS_MAX} at most"):
        ring.with_new(NOW_MS, None)


BAD_FILES = {
    "empty": b"",
    "cut short": bytes(KEY_BYTES_MIN - 1),
    "no keys": keyring.HEAD,
    "cut in a line": keyring.HEAD + b"1 0 " + b"ab" * 31,
    "half a byte": keyring.HEAD + b"1 0 " + b"ab" * 32 + b"a\n",
    "no number": keyring.HEAD + b"1.5 0 " + b"ab" * 32 + b"\n",
    "not hexadecimal": keyring.HEAD + b"1 0 " + b"xy" * 32 + b"\n",
    "words too many": keyring.HEAD + b"1 0 0 " + b"ab" * 32 + b"\n",
    "a key twice": keyring.HEAD + 2 * (b"1 0 " + b"ab" * 32 + b"\n"),
    "no text": keyring.HEAD + b"\xff\xfe",
    "too many": keyring.HEAD + b"".join(b"1 0 %064x\n" % number for number in range(KEYS_MAX + 1)),
    "too much": bytes(keyring.FILE_BYTES_MAX + 1),
}


@pytest.mark.parametrize("content", BAD_FILES.values(), ids=BAD_FILES)
def test_a_file_that_holds_no_usable_keys_is_named_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    """A key that is lost cannot be made again: nothing is guessed and nothing is replaced."""
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(OSError, match=f"{FILE} cannot be used: .* Put back a copy"):
        load_ring(tmp_path / FILE, NOW_MS)
    assert (tmp_path / FILE).read_bytes() == content


@pytest.mark.parametrize("size", [0, KEY_BYTES_MIN - 1])
def test_a_secret_that_is_cut_short_is_named(tmp_path: Path, size: int) -> None:
    (tmp_path / FILE).write_bytes(bytes(size))
    with pytest.raises(OSError, match=f"{FILE} cannot be used: it holds {size} bytes"):
        load_secret(tmp_path / FILE)


def test_processes_that_start_at_once_agree_on_one_key(tmp_path: Path) -> None:
    """Guard: hardlink_to in files.write_new, which never replaces a key that somebody else made meanwhile."""
    found = raced("print(load_ring(path, 1).keys[0].secret.hex())", tmp_path / FILE)
    assert set(found) == {read_ring(tmp_path / FILE).keys[0].secret.hex()}


def test_processes_that_rotate_at_once_lose_no_key(tmp_path: Path) -> None:
    """Guard: `changing`. Without the lock two of them read the same ring, and the second replaces the first one's."""
    first = load_ring(tmp_path / FILE, NOW_MS).keys[0]
    program = """
for _ in range(5):
    with changing(path):
        ring = read_ring(path).with_new(1, None)
        replace_ring(path, ring)
    print(ring.keys[-1].id)
"""
    found = raced(program, tmp_path / FILE)
    assert len(found) == 5 * RACERS
    assert {key.id for key in read_ring(tmp_path / FILE).keys} == {first.id, *found}


def raced(program: str, path: Path) -> list[str]:
    """The words that processes print which began at the same moment."""
    head = "import sys; from pathlib import Path; from persistence.keyring import *; path = Path(sys.argv[1])"
    whole = f"{head}\nprint('ready', flush=True); sys.stdin.read()\n{program}"
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", whole, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(RACERS)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:  # the end of their input is the start
        assert racer.stdin is not None
        racer.stdin.close()
        racer.stdin = None
    return [word for racer in racers for word in racer.communicate()[0].split()]


def test_who_changes_a_ring_holds_its_directory(tmp_path: Path) -> None:
    """Guard: `changing`, made certain."""
    directory = os.open(tmp_path, os.O_RDONLY)
    with changing(tmp_path / FILE), pytest.raises(BlockingIOError):
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(directory)


def test_a_key_made_meanwhile_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The race above, made certain: another process makes the key between our look and our link."""
    path = tmp_path / FILE
    real = files.write_new

    def late(path: Path, content: bytes) -> bool:
        path.write_bytes(THEIRS)
        return real(path, content)

    monkeypatch.setattr(files, "write_new", late)
    assert load_ring(path, NOW_MS) == Ring.of(THEIRS)
    assert [one.name for one in tmp_path.iterdir()] == [FILE]


def test_a_ring_that_cannot_be_written_stays_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guard: it is written beside and then renamed."""
    path = tmp_path / FILE
    ring = load_ring(path, NOW_MS)

    def full(_: int) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as broken, changing(path):
        broken.setattr("persistence.files.os.fsync", full)
        with pytest.raises(OSError, match="no space"):
            replace_ring(path, ring.with_new(NOW_MS, None))
    assert read_ring(path) == ring
    assert [one.name for one in tmp_path.iterdir()] == [FILE]
