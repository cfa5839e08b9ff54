"""Words that are not wanted, found in what people write, however they are written.

A list is text, a word a line; `*` at an end of it stands for any letters there, `!` before it names an innocent word that is never
found, `#` begins a comment. Without a `*` a word is found by itself only, so the name of a town may hold whatever it holds.

    fold    each character becomes one character: letters without case, accent or font, those of other scripts that look like Latin
            ones as these; a space for white space, a dot for whatever else divides. So places in it are places in the text
    find    one compiled expression over all words. For each letter the figures and signs that are written for it, any number in a
            row; between letters dots, or a divider after each one ("f u c k"): a space between only some of them divides words
    look    what was found is let go if the word around it is an innocent one

Marks that are no accent of a Latin letter stay as they are: Bengali vowels are such marks. Nothing here waits or knows the time.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

from protocol.errors import Refusal, RefusalCode
from world.text import is_plain

FILE_BYTES_MAX = 1_048_576
WORDS_MAX = 5_000
WORD_CHARS_MAX = 40
RUN_MAX = 8  # of one letter, where the next may be written alike: what comes after is not searched through again and again
FOLDED_MAX = 65_536  # characters whose fold is kept
MASK = "*"
BAD_WORDS = "A word in it is not wanted here; say it otherwise."
DEFAULT = """
*fuck*
shit
shits
shitty
shithead*
*bullshit*
cunt*
bitch*
bastard*
asshole*
arsehole*
dickhead*
wanker*
whore*
slut
sluts
slutty
twat
twats
nigger*
nigga
niggas
faggot*
"""
# Figures and signs that are written for a letter.
ALIKE = {
    "a": "a@4",
    "b": "b8",
    "e": "e3",
    "g": "g9",
    "i": "i1!|",
    "l": "l1!|",
    "o": "o0",
    "s": "s$5",
    "t": "t7+",
    "z": "z2",
}
SIGNS = "@$!|+"  # those of them that divide where they stand for nothing
# Letters of other scripts, and some of Latin, that look like a plain one: itself and the other.
FOREIGN = (
    "аa еe оo рp сc уy хx іi ѕs јj кk мm тt вb нh ԁd ԛq ԝw һh",  # noqa: RUF001 (which is what they are here for)
    "αa οo νv ρp τt υu κk ιi χx εe",  # noqa: RUF001
    "ıi øo łl đd ɡg ɑa",  # noqa: RUF001
    "ᴀa ʙb ᴄc ᴅd ᴇe ꜰf ɢg ʜh ɪi ᴊj ᴋk ʟl ᴍm ɴn ᴏo ᴘp ʀr ꜱs ᴛt ᴜu ᴠv ᴡw ʏy ᴢz",  # noqa: RUF001
    "սu օo հh ոn ցg",  # noqa: RUF001
)

_PLAIN = str.maketrans({pair[0]: pair[1] for pair in " ".join(FOREIGN).split()})
_DIVIDES = "."
_ACCENTS = range(0x300, 0x370)  # combining marks of Latin
_LETTER = rf"[^ .\d{re.escape(SIGNS)}]"


class WordsError(ValueError):
    """The list of words cannot be used; the message says why."""


class _Folded(dict[int, str]):
    """What each character becomes, worked out when it first comes up."""

    def __missing__(self, code: int) -> str:
        folded = _fold(chr(code))
        if len(self) < FOLDED_MAX:
            self[code] = folded
        return folded


def _fold(character: str) -> str:
    if character.isspace():
        return " "
    if character in SIGNS:
        return character
    if not is_plain(character):
        return _DIVIDES
    base = unicodedata.normalize("NFKD", character).casefold().translate(_PLAIN)[:1]
    if ord(character) in _ACCENTS or not base:
        return _DIVIDES
    category = unicodedata.category(base)
    if category[0] in "LN":
        return base
    return character if category[0] == "M" else _DIVIDES


_FOLDED = _Folded()


def folded(text: str) -> str:
    """The text as it is searched, character for character."""
    return text.translate(_FOLDED)


class Words:
    """A list, ready to look."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._innocent: set[str] = set()
        patterns: dict[
            str, list[str]
        ] = {}  # by how they begin: the others are not looked at where none of these can
        for line in lines:
            word = unicodedata.normalize("NFC", line.partition("#")[0].strip())
            if word.startswith("!"):
                self._innocent.add(folded(word[1:].strip()))
            elif word:
                start, rest = _pattern(word)
                patterns.setdefault(start, []).append(rest)
        if sum(map(len, patterns.values())) > WORDS_MAX:
            raise WordsError(f"more than {WORDS_MAX:,} words")
        groups = (f"{start}(?:{'|'.join(rests)})" for start, rests in patterns.items())
        self._pattern = re.compile("|".join(groups)) if patterns else None

    def found(self, text: str) -> list[tuple[int, int]]:
        """The words of a text (in its composed form, NFC) in which such a word stands: from and to."""
        return list(self._find(folded(text)))

    def _find(self, searched: str) -> Iterator[tuple[int, int]]:
        for match in self._pattern.finditer(searched) if self._pattern else ():
            start, end = _around(searched, *match.span())
            if searched[start:end] not in self._innocent:
                yield start, end

    def masked(self, text: str) -> str:
        """The text with a star for each letter of such words; the same text where there are none."""
        composed = unicodedata.normalize("NFC", text)
        letters = list(composed)
        for start, end in self.found(composed):
            letters[start:end] = [one if one.isspace() else MASK for one in letters[start:end]]
        return "".join(letters) if letters != list(composed) else text

    def check(self, *texts: str) -> None:
        """Raises Refusal where such a word stands in one of these."""
        if any(self.found(unicodedata.normalize("NFC", text)) for text in texts):
            raise Refusal(RefusalCode.UNSEEMLY, BAD_WORDS)


@cache
def words_of(file: str) -> Words:
    """The built-in list and that of a file, "" for none; read once in a process. Raises WordsError."""
    return Words([*DEFAULT.splitlines(), *(_read(Path(file)).splitlines() if file else ())])


def _read(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            content = opened.read(FILE_BYTES_MAX + 1)
        if len(content) > FILE_BYTES_MAX:
            raise WordsError(f"{file} is larger than {FILE_BYTES_MAX:,} bytes")
        return content.decode()
    except OSError as error:
        raise WordsError(f"{file}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise WordsError(f"{file} is no UTF-8 text: {error}") from None


def _around(searched: str, start: int, end: int) -> tuple[int, int]:
    """The whole word, or words, around what was found."""
    while start and searched[start - 1].isalnum():
        start -= 1
    while end < len(searched) and searched[end].isalnum():
        end += 1
    return start, end


def _pattern(word: str) -> tuple[str, str]:
    """How a word of the list is searched for: how it begins, and the rest of it."""
    bare = word.strip(MASK)
    letters = folded(bare)
    if not letters or len(letters) > WORD_CHARS_MAX or any(one in f" .{SIGNS}" for one in letters):
        raise WordsError(f'"{word}" is no word: at most {WORD_CHARS_MAX} letters, and * at its ends only')
    before = "" if word.startswith(MASK) else f"(?<!{_LETTER})"
    after = "" if word.endswith(MASK) else f"(?!{_LETTER})"
    first, *rest = _runs(letters)
    close = "".join(rf"\.*+{run}" for run in rest) + after
    apart = "".join(rf"[ .]++{_any_of(letter)}{{1,{RUN_MAX}}}" for letter in letters[1:]) + f"(?!{_LETTER})"
    return before + first, f"{close}|{apart}" if len(letters) > 2 else close


def _runs(letters: str) -> list[str]:
    """Each letter as often in a row as the word has it, or more often."""
    runs = [(match[0][0], len(match[0])) for match in re.finditer(r"(.)\1*", letters)]
    found = []
    for (letter, count), (following, _) in pairwise([*runs, ("", 0)]):
        shared = set(ALIKE.get(letter, letter)) & set(ALIKE.get(following, following))
        found.append(_any_of(letter) + (f"{{{count},{max(count, RUN_MAX)}}}" if shared else f"{{{count},}}+"))
    return found


def _any_of(letter: str) -> str:
    """Whatever is written for a letter."""
    return f"[{re.escape(ALIKE.get(letter, letter))}]"
