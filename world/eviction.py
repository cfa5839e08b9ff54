"""Who stands on land that is closed to them is put out: by the tick, to the nearest place on open land around the parcel.

That happens when a parcel is closed or its lease begins or ends, when a permit is taken back, and when somebody comes into the world
in there. Parcels to look at are noted in Parcels.shut. Where no ground around is loaded, or none can be walked on, people stay: inside
they may walk, and out (movement.py); the look is taken again when ground comes in.
"""

import numpy as np
from numpy.typing import NDArray

from protocol.messages import PLOT_TILES
from protocol.snapshot import CELL_TILES
from world.grid import pack, unpack
from world.open_land import looking
from world.parcels import PLOTS_PER_CHUNK, Parcel, cell_of_plot, entering, plot_at, plots_in
from world.state import State

MIDDLE = 0.5  # of a tile


def evict(state: State) -> list[tuple[int, int]]:
    """Puts people out of the parcels in Parcels.shut; (slot, key of the cell they were in) of each."""
    parcels, players = state.parcels, state.players
    evicted: list[tuple[int, int]] = []
    for parcel_id in sorted(parcels.shut):
        parcel = parcels.by_id.get(parcel_id)
        slots = [] if parcel is None or parcel.open_enter else _unwelcome(state, parcel)
        if not slots or parcel is None:
            continue
        places = _places(state, parcel)
        for slot in slots if len(places) else ():
            away = (places[:, 0] - players.x[slot]) ** 2 + (places[:, 1] - players.y[slot]) ** 2
            evicted.append((slot, int(players.grid.keys[slot])))
            _put(state, slot, *places[np.argmin(away)].tolist())  # of equals the first
    parcels.shut.clear()
    return evicted


def _unwelcome(state: State, parcel: Parcel) -> list[int]:
    """The slots of those who stand in a closed parcel, on no way, and may not enter."""
    players, (x, y, width, height) = state.players, parcel.bounds()
    inside = players.grid.rectangle(x, y, x + width, y + height, players.x, players.y, players.linked)
    welcome = set(entering(parcel))
    return [
        slot
        for slot in inside.tolist()
        if not players.passes[slot]
        and int(players.player_id[slot]) not in welcome
        and plot_at(float(players.x[slot]), float(players.y[slot])) not in state.parcels.ways
    ]


def _places(state: State, parcel: Parcel) -> NDArray[np.float64]:
    """f64[n, 2]: the middles of the tiles one can stand on in the plots of open land around a parcel, and of its own way."""
    is_open, chunks = looking(state), state.chunks
    px, py, pw, ph = parcel.rectangle
    found: list[NDArray[np.float64]] = [np.empty((0, 2))]
    for plot in plots_in(px - 1, py - 1, pw + 2, ph + 2):
        slot = chunks.slot_of.get(cell_of_plot(plot))
        plot_x, plot_y = unpack(plot)
        if slot is None or not is_open(plot_x, plot_y):
            continue
        left, top = plot_x % PLOTS_PER_CHUNK * PLOT_TILES, plot_y % PLOTS_PER_CHUNK * PLOT_TILES
        ys, xs = np.nonzero(chunks.walk[slot, top : top + PLOT_TILES, left : left + PLOT_TILES])
        corner = np.array((plot_x * PLOT_TILES, plot_y * PLOT_TILES), np.float64)
        found.append(np.stack((xs, ys), axis=1) + corner + MIDDLE)
    return np.concatenate(found)


def _put(state: State, slot: int, x: float, y: float) -> None:
    players = state.players
    players.x[slot], players.y[slot] = x, y
    players.grid.leave(slot)
    players.grid.enter(slot, pack(int(x // CELL_TILES), int(y // CELL_TILES)))
