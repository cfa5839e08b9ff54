"""A bounded queue in which players take turns: whoever asks for much waits behind their own, and nobody behind theirs."""

from collections import OrderedDict, deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Turns(Generic[T]):
    """What each player waits for, in order."""

    def __init__(self, per_player_max: int) -> None:
        self._per_player_max = per_player_max
        self._of: OrderedDict[int, deque[T]] = OrderedDict()  # whose turn is next, first

    def __len__(self) -> int:
        """Players who wait."""
        return len(self._of)

    def put(self, player_id: int, item: T) -> bool:
        """Behind what the player waits for already; False where that is too much."""
        mine = self._of.setdefault(player_id, deque())
        if len(mine) >= self._per_player_max:
            return False
        mine.append(item)
        return True

    def take(self) -> tuple[int, T]:
        """The first of the player whose turn it is; their next turn comes after everybody else's."""
        player_id, mine = self._of.popitem(last=False)
        item = mine.popleft()
        if mine:
            self._of[player_id] = mine
        return player_id, item

    def put_back(self, player_id: int, item: T) -> None:
        """What was taken and is not done: the player's first again."""
        self._of.setdefault(player_id, deque()).appendleft(item)
