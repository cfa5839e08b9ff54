"""Whose land it is, on a map: parcels in their owners' colours over a picture of the ground, and a legend of the largest owners below.

A colour is a stable one for each owner, the same in the browser (ownerColour in tools/browser/land.js). Gold is left out, for in the
browser one's own land is gold.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from colorsys import hls_to_rgb
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from world.parcels import Parcel

GOLDEN_SHARE = 0.6180339887498949  # steps of it spread over the circle, however many there are
HUE_FIRST, HUE_SPAN = 70.0, 320.0  # degrees
SATURATION, LIGHTNESS = 0.62, 0.6
TINT = 0.34  # of the colour, within the border
LEGEND_OWNERS_MAX = 8
ROW_PX, MARGIN_PX, FONT_PX = 22, 10, 13
LEGEND_WIDTH_MIN = 260  # pixels; a smaller picture gets a margin beside it
PAPER, INK, FAINT = (19, 27, 33), (242, 245, 241), (139, 154, 157)

Pixels = NDArray[np.uint8]


class Owner(NamedTuple):
    """Who owns how much of what is seen."""

    owner_id: int
    name: str
    plots: int


def owner_hue(owner_id: int) -> float:
    """Degrees, 0 to 360."""
    return (HUE_FIRST + HUE_SPAN * (owner_id * GOLDEN_SHARE % 1.0)) % 360.0


def owner_colour(owner_id: int) -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255."""
    red, green, blue = hls_to_rgb(owner_hue(owner_id) / 360.0, LIGHTNESS, SATURATION)
    return round(red * 255), round(green * 255), round(blue * 255)


def touching(parcels: Iterable[Parcel], x: int, y: int, width: int, height: int) -> list[Parcel]:
    """The parcels that touch a rectangle of tiles."""
    found = []
    for parcel in parcels:
        left, top, wide, high = parcel.bounds()
        if left < x + width and left + wide > x and top < y + height and top + high > y:
            found.append(parcel)
    return found


def largest(parcels: Iterable[Parcel]) -> list[Owner]:
    """All owners of some parcels, who owns most first."""
    names: dict[int, str] = {}
    plots: Counter[int] = Counter()
    for parcel in parcels:
        names[parcel.owner_id] = parcel.owner_name
        plots[parcel.owner_id] += parcel.pw * parcel.ph
    ranked = sorted(plots.items(), key=lambda one: (-one[1], one[0]))
    return [Owner(owner_id, names[owner_id], count) for owner_id, count in ranked]


def paint(pixels: Pixels, parcels: Iterable[Parcel], corner: tuple[int, int], scale: Fraction) -> None:
    """Lays the colours over a picture [rows, columns, 3] whose first pixel is at tile `corner`."""
    line = max(1, int(scale) // 3)
    for parcel in parcels:
        left, top, width, height = parcel.bounds()
        x, right = (int((value - corner[0]) * scale) for value in (left, left + width))
        y, bottom = (int((value - corner[1]) * scale) for value in (top, top + height))
        colour = np.array(owner_colour(parcel.owner_id), np.float32)
        _blend(pixels, x, y, right, bottom, colour, TINT)
        for side in (
            (x, y, right, y + line),
            (x, bottom - line, right, bottom),
            (x, y + line, x + line, bottom - line),
            (right - line, y + line, right, bottom - line),
        ):
            _blend(pixels, *side, colour, 1.0)


def _blend(
    pixels: Pixels, x: int, y: int, right: int, bottom: int, colour: NDArray[np.float32], share: float
) -> None:
    """Mixes a colour into a rectangle of a picture, as far as it lies on it."""
    part = pixels[max(0, y) : max(0, bottom), max(0, x) : max(0, right)]
    part[:] = (part * (1.0 - share) + colour * share + 0.5).astype(np.uint8)


def with_legend(pixels: Pixels, owners: Sequence[Owner]) -> Pixels:
    """The picture with the largest owners listed below it: colour, name, plots."""
    rows = legend(owners)
    rows_high, picture_wide = len(rows) * ROW_PX + 2 * MARGIN_PX, pixels.shape[1]
    size = (max(picture_wide, LEGEND_WIDTH_MIN), pixels.shape[0] + rows_high)
    whole = Image.new("RGB", size, PAPER)
    whole.paste(Image.fromarray(pixels), (0, 0))
    draw, font = ImageDraw.Draw(whole), ImageFont.load_default(FONT_PX)
    for number, (colour, name, count) in enumerate(rows):
        y = pixels.shape[0] + MARGIN_PX + number * ROW_PX
        if colour is not None:
            draw.rounded_rectangle((MARGIN_PX, y + 4, MARGIN_PX + 13, y + 17), 3, fill=colour)
        draw.text((MARGIN_PX + 24, y + ROW_PX // 2), name, INK if colour else FAINT, font, "lm")
        draw.text((LEGEND_WIDTH_MIN - MARGIN_PX, y + ROW_PX // 2), count, FAINT, font, "rm")
    return np.asarray(whole)


def legend(owners: Sequence[Owner]) -> list[tuple[tuple[int, int, int] | None, str, str]]:
    """Rows of (colour or None, name, plots): the largest owners, and in the last row all others together."""
    shown, others = owners[:LEGEND_OWNERS_MAX], owners[LEGEND_OWNERS_MAX:]
    rows: list[tuple[tuple[int, int, int] | None, str, str]] = [
        (owner_colour(one.owner_id), one.name, _plots(one.plots)) for one in shown
    ]
    if others:
        rows.append((None, f"{len(others):,} others", _plots(sum(one.plots for one in others))))
    if not owners:
        rows.append((None, "Nobody owns land here.", ""))
    return rows


def _plots(count: int) -> str:
    return f"{count:,} {'plot' if count == 1 else 'plots'}"
