"""Players take turns."""

from server.turns import Turns


def test_each_comes_once_before_anybody_comes_again() -> None:
    turns: Turns[int, str] = Turns(3)
    for player_id, item in ((1, "a"), (1, "b"), (2, "c"), (1, "d"), (3, "e")):
        assert turns.put(player_id, item)
    assert [turns.take() for _ in range(5)] == [(1, "a"), (2, "c"), (3, "e"), (1, "b"), (1, "d")]
    assert not turns


def test_what_is_put_back_is_its_players_next() -> None:
    turns: Turns[int, str] = Turns(3)
    for player_id, item in ((1, "a"), (1, "b"), (2, "c")):
        turns.put(player_id, item)
    turns.put_back(*turns.take())
    assert [turns.take() for _ in range(3)] == [(2, "c"), (1, "a"), (1, "b")]


def test_nobody_waits_for_too_much() -> None:
    """Guard: per_player_max in Turns.put."""
    turns: Turns[int, str] = Turns(2)
    assert [turns.put(1, one) for one in "abc"] == [True, True, False]
    assert turns.put(2, "d")
