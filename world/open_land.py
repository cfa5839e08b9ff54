"""Open land: plots that are nobody's, and the ways that parcels grant; everybody may walk there.

Open land is one piece: whoever walks it from plot to plot reaches every parcel. So no change may divide it, enclose a part of it,
however large, or take from a parcel the last open plot beside it. A change is let through only where a way around was walked to its
end; where that would take too long, it is refused. What is asked here is asked of plots as they would be after a change (`looking`).
"""

from collections import deque
from collections.abc import Callable, Collection, Iterator
from itertools import chain

from protocol.errors import Refusal, RefusalCode
from protocol.messages import PLOT_TILES, WORLD_TILES_MAX
from world.grid import pack, unpack
from world.parcels import Parcel, Rectangle, plots_in
from world.state import State

# How many plots are walked for one change, some 1 us each. Two built-up areas that both take more than half of this to walk around do
# not grow together: a street stays open between them.
WALK_PLOTS_MAX = 1_024
PLOTS_EDGE = WORLD_TILES_MAX // PLOT_TILES  # plots of the world reach from - this to this - 1
STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))  # each to the right of the one before, for who looks that way

Plot = tuple[int, int]  # px, py
IsOpen = Callable[[int, int], bool]  # px, py


def looking(state: State, closed: Collection[int] = (), opened: Collection[int] = ()) -> IsOpen:
    """Tells whether a plot would be open land after the plots `closed` were closed and those `opened` were opened (sets of keys)."""
    taken, ways = state.parcels.by_plot, state.parcels.ways

    def is_open(px: int, py: int) -> bool:
        key = px << 32 | py & 0xFFFFFFFF  # grid.pack, which would be half of what this costs
        if key in closed:
            return False
        if key in taken and key not in ways and key not in opened:
            return False
        return -PLOTS_EDGE <= px < PLOTS_EDGE and -PLOTS_EDGE <= py < PLOTS_EDGE

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
        if not (_has_open_now(state, parcel.rectangle, is_open) or has_way_out(parcel.rectangle, is_open)):
            yield parcel


def _has_open_now(state: State, rectangle: Rectangle, is_open: IsOpen) -> bool:
    """has_way_out, but for plots that only the change will open, and several times as fast: there may be 130 neighbours as long."""
    px, py, pw, ph = rectangle
    taken, ways = state.parcels.by_plot, state.parcels.ways
    sides = [range(pack(px, y), pack(px + pw, y), pack(1, 0)) for y in (py - 1, py + ph)]
    columns = ([pack(x, y) for y in range(py, py + ph)] for x in (px - 1, px + pw))
    for side in chain(sides, columns):
        for key in [key for key in side if key not in taken or key in ways]:
            if is_open(*unpack(key)):
                return True
    return False


def check_one_piece(rectangle: Rectangle, is_open: IsOpen) -> None:
    """Raises Refusal where open land around a rectangle that is closed would fall into pieces, or that cannot be told soon enough.

    As long as the open plots of the ring around it follow each other in one run, whoever went through goes around. Else something
    closed stands between each run and the next, and is walked around with one hand on the wall. All walks go on by turns, a plot each,
    until they made one piece of the runs: one walk, however long, need not end.
    """
    walks = deque(_walk_around(*walk, is_open) for walk in _between_runs(ring(rectangle), is_open))
    for _ in range(WALK_PLOTS_MAX):
        if len(walks) < 2:
            return
        walk = walks.popleft()
        if next(walk, None) is not None:
            walks.append(walk)
    text = "Nobody could tell soon whether there still was a way around what is owned here; leave a gap."
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


def _between_runs(around: list[Plot], is_open: IsOpen) -> Iterator[tuple[Plot, int, Plot]]:
    """Of each run of open plots in a ring: its last plot, which of STEPS led there along the ring, and where the next run begins."""
    opened = [is_open(*plot) for plot in around]
    begins = [index for index in range(len(around)) if opened[index] and not opened[index - 1]]
    ends = [index - 1 for index in range(len(around)) if opened[index - 1] and not opened[index]]
    if begins and ends[0] < begins[0]:
        ends.append(ends.pop(0))  # each beside the beginning of its run
    for number, end in enumerate(ends):
        (x, y), (before_x, before_y) = around[end], around[end - 1]
        yield (
            around[end],
            STEPS.index((x - before_x, y - before_y)),
            around[begins[(number + 1) % len(begins)]],
        )


def _walk_around(plot: Plot, heading: int, goal: Plot, is_open: IsOpen) -> Iterator[Plot]:
    """Walks on open land, the right hand on what is closed, a plot each time, to the goal. Raises Refusal where that lies elsewhere."""
    first: tuple[Plot, int] | None = None
    while plot != goal:
        for turn in (1, 0, -1, 2):  # right, ahead, left, back
            dx, dy = STEPS[(heading + turn) % 4]
            if is_open(plot[0] + dx, plot[1] + dy):
                break
        else:
            raise _enclosed()
        plot, heading = (plot[0] + dx, plot[1] + dy), (heading + turn) % 4
        if (plot, heading) == first:
            raise _enclosed()
        first = first or (plot, heading)
        yield plot


def _enclosed() -> Refusal:
    return Refusal(
        RefusalCode.CUT_OFF, "This would enclose open land, so that nobody could get there; leave a gap."
    )


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
        for rest in without(parcel.way, way):  # all beside what stays open, if any does
            check_one_piece(rest, is_open)


def shortest_way(part: Rectangle, through: Rectangle, is_open: IsOpen) -> Rectangle | None:
    """The smallest rectangle of plots in `through` that leads from `part`, which has a side in common with it, to open land.

    It goes straight away from `part`: along that side, the plot at its end alone would do.
    """
    px, py, pw, ph = through
    dx = (px >= part[0] + part[2]) - (px + pw <= part[0])
    dy = (py >= part[1] + part[3]) - (py + ph <= part[1])
    begins = [(x, y) for x, y in map(unpack, plots_in(*through)) if _lies_in(x - dx, y - dy, part)]
    for away in range(pw if dx else ph):
        for x, y in begins:
            to_x, to_y = x + away * dx, y + away * dy
            if any(is_open(to_x + step_x, to_y + step_y) for step_x, step_y in STEPS):
                return min(x, to_x), min(y, to_y), abs(to_x - x) + 1, abs(to_y - y) + 1
    return None


def _lies_in(px: int, py: int, rectangle: Rectangle) -> bool:
    left, top, width, height = rectangle
    return left <= px < left + width and top <= py < top + height


def without(one: Rectangle, other: Rectangle | None) -> list[Rectangle]:
    """What is left of a rectangle: rectangles, each with a side in common with what was taken."""
    common = overlap(other, one)
    if common is None:
        return [one]
    (left, top, width, height), (px, py, pw, ph) = one, common
    rests = [
        (left, top, width, py - top),
        (left, py + ph, width, top + height - py - ph),
        (left, py, px - left, ph),
        (px + pw, py, left + width - px - pw, ph),
    ]
    return [rest for rest in rests if rest[2] and rest[3]]


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
