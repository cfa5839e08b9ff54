"""Each durable request of the protocol is a command, has a rule, and says how it is named in the journal."""

from typing import get_args

from protocol.messages import DURABLE_MESSAGES, name_of
from world.commands import AnyDurable
from world.tick import RULES


def test_a_message_with_an_action_id_enters_the_tick_and_has_a_rule() -> None:
    """Fails for a new message that is only half there."""
    assert set(get_args(AnyDurable)) == set(DURABLE_MESSAGES) == RULES.keys()


def test_ids_come_first_in_what_is_durable() -> None:
    """The digest of what is asked leaves out the first two fields (server.actions.content_of)."""
    for message in DURABLE_MESSAGES:
        assert message.__struct_fields__[:2] == ("request_id", "action_id"), name_of(message)
