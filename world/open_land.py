"""Open land: plots that are nobody's, and the ways that parcels grant; everybody may walk there.

Open land is one piece: whoever walks it reaches every parcel. So no change may divide it, enclose a part of it, or take from a parcel
the last open plot beside it. What is asked here is asked of plots as they would be after a change (`looking`).
"""

from collections.abc import Callable, Collection, Iterator

from protocol.errors import Refusal, RefusalCode
from protocol.messages import PLOT_TILES, WORLD_TILES_MAX
from world.grid import pack
from world.parcels import Parcel, Rectangle, plots_in
from world.state import State

SEARCH_PLOTS_MAX = 1_024  # open land as large as this counts as all of it
PLOTS_EDGE = WORLD_TILES_MAX // PLOT_TILES  # plots of the world reach from - this to this - 1
STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))

IsOpen = Callable[[int, int], bool]  # px, py


def looking(state: State, closed: Collection[int] = (), opened: Collection[int] = ()) -> IsOpen:
    """Tells whether a plot would be open land after the plots `closed` were closed and those `opened` were opened (sets of keys)."""
    taken, ways = state.parcels.by_plot, state.parcels.ways

    def is_open(px: int, py: int) -> bool:
        key = pack(px, py)
        if key in closed or not (-PLOTS_EDGE <= px < PLOTS_EDGE and -PLOTS_EDGE <= py < PLOTS_EDGE):
            return False
        return key not in taken or key in ways or key in opened

    return is_open


def has_way_out(rectangle: Rectangle, is_open: IsOpen) -> bool:
    """Whether a plot of open land shares an edge with a rectangle."""
    return any(is_open(*plot) for plot in beside(rectangle))


def beside(rectangle: Rectangle) -> Iterator[tuple[int, int]]:
    """The plots that share an edge with a rectangle."""
    px, py, pw, ph = rectangle
    for x in range(px, px + pw):
        yield x, py - 1
        yield x, py + ph
    for y in range(py, py + ph):
        yield px - 1, y
        yield px + pw, y


def cut_off(state: State, rectangle: Rectangle, is_open: IsOpen) -> Iterator[Parcel]:
    """The parcels beside a rectangle that would have no open land beside them."""
    by_plot = state.parcels.by_plot
    for parcel_id in sorted({by_plot[key] for plot in beside(rectangle) if (key := pack(*plot)) in by_plot}):
        parcel = state.parcels.by_id[parcel_id]
        if not has_way_out(parcel.rectangle, is_open):
            yield parcel


def check_one_piece(rectangle: Rectangle, is_open: IsOpen) -> None:
    """Raises Refusal where open land around a rectangle would fall into pieces.

    As long as the open plots of the ring around it follow each other in one run, whoever went through goes around. Else the pieces are
    walked: each must be large, or meet one that was found to be.
    """
    starts = _runs(ring(rectangle), is_open)
    large: set[int] = set()
    if len(starts) > 1 and any(not _is_large(start, is_open, large) for start in starts):
        text = "This would enclose open land, so that nobody could get there; leave a gap."
        raise Refusal(RefusalCode.CUT_OFF, text)


def ring(rectangle: Rectangle) -> list[tuple[int, int]]:
    """The plots around a rectangle, corners too, one after the other clockwise."""
    px, py, pw, ph = rectangle
    left, top, right, bottom = px - 1, py - 1, px + pw, py + ph
    return [
        *((x, top) for x in range(left, right)),
        *((right, y) for y in range(top, bottom)),
        *((x, bottom) for x in range(right, left, -1)),
        *((left, y) for y in range(bottom, top, -1)),
    ]


def _runs(around: list[tuple[int, int]], is_open: IsOpen) -> list[tuple[int, int]]:
    """One plot of each run of open plots in a ring."""
    opened = [is_open(*plot) for plot in around]
    if all(opened):
        return around[:1]
    return [plot for index, plot in enumerate(around) if opened[index] and not opened[index - 1]]


def _is_large(start: tuple[int, int], is_open: IsOpen, large: set[int]) -> bool:
    """Whether one can walk from a plot of open land to SEARCH_PLOTS_MAX others, or to a plot in `large`; adds to it what was found."""
    seen, frontier = {pack(*start)}, [start]
    for px, py in frontier:  # it grows meanwhile: the nearest come first
        for dx, dy in STEPS:
            plot, key = (px + dx, py + dy), pack(px + dx, py + dy)
            if key in seen or not is_open(*plot):
                continue
            if key in large or len(seen) >= SEARCH_PLOTS_MAX:
                large |= seen
                return True
            seen.add(key)
            frontier.append(plot)
    return False


# --- ways ---


def check_way(state: State, parcel: Parcel, way: Rectangle | None) -> None:
    """Raises Refusal where a parcel's way may not be this instead of what it is: it must lead to open land, and nobody may need the
    old one.
    """
    old = set() if parcel.way is None else set(plots_in(*parcel.way))
    new = set() if way is None else set(plots_in(*way))
    is_open = looking(state, closed=old - new, opened=new)
    if way is not None and not has_way_out(way, is_open):
        raise Refusal(RefusalCode.CUT_OFF, "A way must lead to open land: this one has none beside it.")
    if parcel.way is not None:
        for cut in cut_off(state, parcel.way, is_open):
            text = f"Parcel {cut.parcel_id} of {cut.owner_name} has no other way to open land."
            raise Refusal(RefusalCode.CUT_OFF, text)
        check_one_piece(parcel.way, is_open)


def shortest_way(part: Rectangle, through: Rectangle, is_open: IsOpen) -> Rectangle | None:
    """The smallest rectangle of plots in `through` that leads from `part` to open land."""
    inside = set(plots_in(*part))
    for strip in _strips(through):
        if any(pack(*plot) in inside for plot in beside(strip)) and has_way_out(strip, is_open):
            return strip
    return None


def _strips(rectangle: Rectangle) -> Iterator[Rectangle]:
    """The rectangles one plot wide in a rectangle, the short before the long."""
    px, py, pw, ph = rectangle
    for length in range(1, max(pw, ph) + 1):
        for y in range(py, py + ph):
            yield from ((x, y, length, 1) for x in range(px, px + pw - length + 1))
        for x in range(px, px + pw):
            yield from ((x, y, 1, length) for y in range(py, py + ph - length + 1))


def overlap(one: Rectangle | None, other: Rectangle) -> Rectangle | None:
    """What two rectangles have in common."""
    if one is None:
        return None
    left, top = max(one[0], other[0]), max(one[1], other[1])
    right, bottom = min(one[0] + one[2], other[0] + other[2]), min(one[1] + one[3], other[1] + other[3])
    return (left, top, right - left, bottom - top) if right > left and bottom > top else None


def together(one: Rectangle, other: Rectangle) -> Rectangle | None:
    """The rectangle that two make which do not overlap; None where they make none."""
    px, py = min(one[0], other[0]), min(one[1], other[1])
    pw = max(one[0] + one[2], other[0] + other[2]) - px
    ph = max(one[1] + one[3], other[1] + other[3]) - py
    return (px, py, pw, ph) if pw * ph == one[2] * one[3] + other[2] * other[3] else None
