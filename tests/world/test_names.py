"""Another name, and somebody who goes for good."""

from protocol.messages import ChatChannel, Role, Standing
from tests.world.support import RULES
from world.commands import Become, Depart, Join, Leave, Say
from world.grid import pack
from world.parcels import Before, Lease, Parcel, Permit, Terms
from world.state import State
from world.tick import step


def test_another_name_is_seen_at_once_and_stands_on_all_land_that_names_its_bearer() -> None:
    """Guards: Parcels.rename with each of its three lists, and `crossed` in tick._become."""
    state = State(RULES)
    terms = Terms(1, 0, 1_000, False)
    before = Before("", "", True, False, (Permit(1, "Old", Standing.BUILDER),), b"")
    state.parcels.put(Parcel(1, 1, "Old", 0, 0, 1, 1))
    state.parcels.put(Parcel(2, 2, "Bea", 1, 0, 1, 1, permits=(Permit(1, "Old", Standing.VISITOR),)))
    state.parcels.put(Parcel(3, 2, "Bea", 2, 0, 1, 1, lease=Lease(1, "Old", terms, 9, True, 0, before)))
    step(state, [Join(1, "Old", Role.GUEST, 0, 0.5, 0.5)], 1)
    events = step(state, [Become(1, "New", Role.USER, 7)], 2)
    assert events.crossed == [(1, pack(0, 0))]
    assert pack(0, 0) in events.touched
    slot = state.players.slot_of[1]
    assert (state.players.names[slot], state.players.roles[slot], state.players.look[slot]) == (
        "New",
        Role.USER,
        7,
    )
    parcels = state.parcels.by_id
    assert parcels[1].owner_name == "New"
    assert parcels[2].permits[0].name == parcels[2].owner_name.replace("Bea", "New") == "New"
    lease = parcels[3].lease
    assert lease is not None
    assert (lease.tenant_name, lease.before.permits[0].name) == ("New", "New")
    state.parcels.free(3)
    state.parcels.put(Parcel(2, 2, "Bea", 1, 0, 1, 1))
    assert state.parcels.by_permit.of(1) == ()
    assert not step(state, [Become(1, "Newer", Role.USER, 7), Leave(1)], 3).crossed


def test_who_departs_is_gone_and_nothing_they_said_is_told() -> None:
    state = State(RULES)
    step(state, [Join(1, "Ann", Role.USER, 0, 0.5, 0.5), Join(2, "Bea", Role.USER, 0, 0.5, 0.5)], 1)
    step(state, [Say(1, 1, ChatChannel.WORLD, "mine", None), Say(2, 1, ChatChannel.NEARBY, "hers", None)], 2)
    state.parcels.put(Parcel(1, 1, "Ann", 0, 0, 1, 1))
    events = step(state, [Depart(1, "someone who left")], 3)
    assert [left[0] for left in events.left] == [1]
    assert [line.text for _, line in state.talk.all()] == ["hers"]
    assert [line.text for _, line in state.talk.latest(ChatChannel.NEARBY, pack(0, 0))] == ["hers"]
    assert state.parcels.by_id[1].owner_name == "someone who left"
