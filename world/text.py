"""Text that people write, made clean.

Control, format and private-use characters go (a line cannot move the cursor, hide text or fake a second line), and so do signs that
nobody sees; white space becomes single spaces, composed forms are used, and marks do not pile up over other lines.
"""

import unicodedata
from collections.abc import Iterator

JOINERS = "\u200c\u200d\ufe0f"  # wanted inside words and emoji, though they are format characters
# Letters, signs and marks that nobody sees, beside format characters: Unicode's Default_Ignorable_Code_Point, and Braille's blank.
_UNSEEN = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0"
    + "".join(map(chr, [*range(0xFE00, 0xFE0F), *range(0xE0100, 0xE01F0)]))
)
_MARKS = ("Mn", "Me")  # drawn over or under the character before
MARKS_MAX = 4  # on one character; no writing needs more


def clean(text: str) -> str:
    """The text without characters that could deceive; white space runs become one space."""
    if text.isascii() and text.isprintable():  # nothing else is in most names, and none of it can
        return " ".join(text.split())
    kept = (" " if character.isspace() else character for character in text if _is_kept(character))
    # Composed last: what was taken out may have stood between a letter and its accent.
    composed = unicodedata.normalize("NFC", " ".join("".join(kept).split()))
    # Once more, since a mark that goes may have stood between two that compose.
    return unicodedata.normalize("NFC", "".join(_thinned(composed)))


def _thinned(text: str) -> Iterator[str]:
    """The text without the marks beyond MARKS_MAX on one character; joiners between them do not start anew."""
    marks = 0
    for character in text:
        is_mark = unicodedata.category(character) in _MARKS
        if is_mark:
            marks += 1
        elif character not in JOINERS:
            marks = 0
        if not is_mark or marks <= MARKS_MAX:
            yield character


def _is_kept(character: str) -> bool:
    if character in _UNSEEN:
        return False
    return character.isspace() or character in JOINERS or unicodedata.category(character)[0] != "C"


def is_plain(text: str) -> bool:
    """Whether nothing of a text is unseen, and a single space stands between its words."""
    return clean(text) == text and not any(character in JOINERS for character in text)
