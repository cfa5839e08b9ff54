"""A bounded queue in which players or addresses take turns: whoever asks for much waits behind their own, nobody behind theirs."""

from collections import OrderedDict, deque
from typing import Generic, TypeVar

K = TypeVar("K")  # names whose turn it is
T = TypeVar("T")


class Turns(Generic[K, T]):
    """What each of them waits for, in order."""

    def __init__(self, each_max: int) -> None:
        self._each_max = each_max
        self._of: OrderedDict[K, deque[T]] = OrderedDict()  # whose turn is next, first

    def __len__(self) -> int:
        """Of those who wait, how many there are."""
        return len(self._of)

    def put(self, key: K, item: T) -> bool:
        """Behind what they wait for already; False where that is too much."""
        mine = self._of.setdefault(key, deque())
        if len(mine) >= self._each_max:
            return False
        mine.append(item)
        return True

    def take(self) -> tuple[K, T]:
        """The first of whose turn it is; their next turn comes after everybody else's."""
        key, mine = self._of.popitem(last=False)
        item = mine.popleft()
        if mine:
            self._of[key] = mine
        return key, item

    def put_back(self, key: K, item: T) -> None:
        """What was taken and is not done: their first again."""
        self._of.setdefault(key, deque()).appendleft(item)
