"""Colours of owners on maps: a stable one for each, the same in the browser (ownerColour in tools/browser/land.js).

Gold is left out, for in the browser one's own land is gold.
"""

from colorsys import hls_to_rgb

GOLDEN_SHARE = 0.6180339887498949  # steps of it spread over the circle, however many there are
HUE_FIRST, HUE_SPAN = 70.0, 320.0  # degrees
SATURATION, LIGHTNESS = 0.62, 0.6


def owner_hue(owner_id: int) -> float:
    """Degrees, 0 to 360."""
    return (HUE_FIRST + HUE_SPAN * (owner_id * GOLDEN_SHARE % 1.0)) % 360.0


def owner_colour(owner_id: int) -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255."""
    red, green, blue = hls_to_rgb(owner_hue(owner_id) / 360.0, LIGHTNESS, SATURATION)
    return round(red * 255), round(green * 255), round(blue * 255)
