"""Entries of a journal for tests: made by the rules themselves, in a small world where land costs something."""

from protocol.edits import TILE_EDIT, pack
from protocol.messages import PLOT_TILES, LandClaim, Role, TileEdit
from tests.world.support import RULES, World, act, ids
from world.commands import AnyDurable
from world.entries import Change, Entry, Outcome, write
from world.ledger import ESCROW, Hold, HoldState
from world.state import LandRules, Rules
from world.tiles import Build

GRANT = 10_000
PRICE = 100  # of a plot
LAND = LandRules(starting_grant=GRANT, plot_price=PRICE, plot_price_min=PRICE)


def claim(px: int, py: int, pw: int = 1, ph: int = 1) -> LandClaim:
    """Of plots."""
    return LandClaim(*ids(), *(value * PLOT_TILES for value in (px, py, pw, ph)))


def build(*tiles: tuple[int, int, Build]) -> TileEdit:
    """On tiles (x, y)."""
    return TileEdit(*ids(), pack(tiles, TILE_EDIT))


class Chronicle:
    """A world whose entries are kept, as they go to the flusher."""

    def __init__(self) -> None:
        rules = {name: getattr(RULES, name) for name in RULES.__dataclass_fields__} | {"land": LAND}
        self.world = World(rules=Rules(**rules))
        self.entries: list[Entry] = []

    def do(self, player_id: int, request: AnyDurable, role: Role = Role.USER) -> list[Entry]:
        """One action in one tick, which must be done; its entries."""
        events = self.world.do(act(player_id, request, role))
        assert events.entries, f"refused: {events.answers}"
        self.entries += events.entries
        return events.entries

    def happen(self, *changes: Change) -> list[Entry]:
        """The world does something by itself."""
        entry = write(self.world.state, "test", Outcome(None, list(changes)), None)  # type: ignore[arg-type]
        self.entries.append(entry)
        return [entry]

    def set_aside(self, player_id: int, amount: int) -> list[Entry]:
        """A hold is made; its hold_id is the entry's seq."""
        state = self.world.state
        posts = state.ledger.posted([(player_id, -amount), (ESCROW, amount)])
        return self.happen(*posts, Hold(state.seq + 1, player_id, amount, "a bid"))

    def give_back(self, hold_id: int) -> list[Entry]:
        """A hold is voided."""
        ledger = self.world.state.ledger
        hold = ledger.holds[hold_id]
        posts = ledger.posted([(ESCROW, -hold.amount), (hold.account, hold.amount)])
        return self.happen(*posts, hold.over(HoldState.VOIDED))

    def spend(self, hold_id: int, to: int) -> list[Entry]:
        """A hold is posted."""
        ledger = self.world.state.ledger
        hold = ledger.holds[hold_id]
        posts = ledger.posted([(ESCROW, -hold.amount), (to, hold.amount)])
        return self.happen(*posts, hold.over(HoldState.POSTED))
