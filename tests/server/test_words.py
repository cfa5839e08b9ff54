"""Which words are found, however they are written, and which are let be."""

from pathlib import Path

import pytest

from protocol.errors import Refusal, RefusalCode
from server.words import FILE_BYTES_MAX, Words, WordsError, words_of

WORDS = words_of("")

FOUND = [
    "fuck",
    "FUCK",
    "fúck",
    "fu\u0301ck",
    "ｆｕｃｋ",  # noqa: RUF001 (full width)
    "fuсk",  # noqa: RUF001 (a Cyrillic letter)
    "f u c k",
    "f.u.c.k",
    "f-u_c*k",
    "fuuuuck",
    "fu\u200bck",
    "f\ufe0fuck",
    "f\u3164uck",
    "f\u034fuck",
    "ꜰᴜᴄᴋ",
    "fսck",  # noqa: RUF001 (an Armenian letter)
    "motherfucker",
    "$h1t",
    "sh!t",
    "5h|t",
    "b1tches",
    "a55hole",
    "assssshole",
    "(shit)",
    "shit!!!",
    "s h i t",
]
INNOCENT = [
    "Scunthorpe is a town",
    "push it",
    "this hit",
    "class hole",
    "shiitake mushrooms",
    "snigger",
    "assassin",
    "peacock",
    "Penistone",
    "a s b o",
    "আমি ভালো আছি, শিট কাপড়",
    "নদীর ধারের মানুষ ০১২৩",
    "Grüße aus Wien",
    "1 1 1 1 !!! $$$",
    "",
]


@pytest.mark.parametrize("text", FOUND)
def test_a_word_is_found_however_it_is_written(text: str) -> None:
    masked = WORDS.masked(text)
    assert "*" in masked
    assert not any(one.isalpha() for one in masked)
    with pytest.raises(Refusal) as refused:
        WORDS.check("fine", text)
    assert refused.value.code is RefusalCode.UNSEEMLY


@pytest.mark.parametrize("text", INNOCENT)
def test_innocent_words_stay_as_they_are(text: str) -> None:
    """Guards: the borders in words._pattern; categories in words._fold, without which Bengali vowels would divide words."""
    assert WORDS.masked(text) == text
    WORDS.check(text)


def test_only_the_word_is_masked_and_spaces_stay() -> None:
    assert WORDS.masked("what the f.u.c.k is this") == "what the ******* is this"
    assert WORDS.masked("oh f u c k you") == "oh * * * * you"
    assert WORDS.masked("বাহ shit বাহ") == "বাহ **** বাহ"


def test_a_list_has_stars_innocents_and_comments(tmp_path: Path) -> None:
    file = tmp_path / "words"
    file.write_text("# ours\nturnip*  # with tails\n!turnipfield\nগালি\n", encoding="utf-8")
    words = words_of(str(file))
    assert words.masked("Turnips and a turn1phead") == "******* and a **********"
    assert words.masked("the turnipfield") == "the turnipfield"
    assert words.masked("a parsnip and returnip") == "a parsnip and returnip"
    assert words.masked("এটা গালি নয়") == "এটা **** নয়"
    assert words.masked("গালিচা") == "গালিচা"
    assert words.masked("shit") == "****"


@pytest.mark.parametrize("line", ["two words", "a*b", "*", "x" * 41, "..."])
def test_what_is_no_word_is_named(line: str) -> None:
    with pytest.raises(WordsError, match="no word"):
        Words([line])


def test_a_list_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Guard: FILE_BYTES_MAX."""
    (tmp_path / "long").write_bytes(b"a" * (FILE_BYTES_MAX + 1))
    (tmp_path / "latin").write_bytes(b"\xe9\n")
    for name in ("long", "latin", "nowhere"):
        with pytest.raises(WordsError, match=name):
            words_of(str(tmp_path / name))
