"""A bot that does what is durable, and keeps its own record of what it was told was done.

Every request carries an `action_id` of its own making. What was not answered when a line is lost is asked again over the next, with the
same id, and so is what the server puts off (a refusal that says when to try again). An answer that does not fit the record, another one
for the same action or one to nothing that was asked, is an error: it would be an action that was done twice, or not at all.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any

from protocol.errors import RefusalCode
from protocol.messages import ClientMessage, code_of
from tools.bots import wire
from tools.bots.fleet import Bot

RUN_BYTES, COUNT_BYTES = 12, 4  # an action_id: this bot in this run, and the action's number
IN_FRAME_MAX = 32  # requests in one WebSocket message; the server takes 64 of them, and 4,096 bytes
NO_ACTION = b""
ANOTHER_ANSWER = "another answer to the same action"
NOT_ASKED = "an answer to nothing that was asked"

Result = Mapping[str, Any]
Then = Callable[[Result | None], None]  # told the result, or None where it was refused
_NAMES = {code.value: code.name for code in RefusalCode}


@dataclass(slots=True)
class Asked:
    """A request that waits for its answer."""

    request: type[ClientMessage]
    action_id: bytes  # NO_ACTION for a question
    fields: tuple[Any, ...]  # those after the ids
    began_ns: int  # when it was to be done
    then: Then
    again_ns: int = 0  # put off until then by the server; 0: it was sent


class Acting(Bot):
    """What every bot has that asks for durable things; subclasses say what they want done."""

    __slots__ = ("_asked", "_number", "_out", "_run", "record")

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._run = os.urandom(
            RUN_BYTES
        )  # not of the seed: an action of an earlier run would be answered, not done
        self._number = 0  # of the last request
        self._asked: dict[int, Asked] = {}  # by request_id
        self._out: list[bytes] = []
        self.record: dict[
            bytes, tuple[int, Result]
        ] = {}  # by action_id: its seq in the journal, and the result

    @property
    def unanswered(self) -> int:
        """Requests that wait for their answer."""
        return len(self._asked)

    # --- asking ---

    def ask(
        self, request: type[ClientMessage], fields: tuple[Any, ...], then: Then, began_ns: int | None = None
    ) -> Asked:
        """Ask for something once; it leaves with `flush`."""
        action_id = self._run + (self._number + 1).to_bytes(COUNT_BYTES, "big")
        asked = Asked(request, action_id, fields, began_ns or perf_counter_ns(), then)
        self._fleet.tally.actions += 1
        self._put(asked)
        return asked

    def question(self, request: type[ClientMessage], fields: tuple[Any, ...], then: Then) -> None:
        """Ask for what changes nothing; it leaves with `flush`."""
        self._put(Asked(request, NO_ACTION, fields, perf_counter_ns(), then))

    def ask_again(self, done: Asked) -> None:
        """Ask for what was done: the first answer must come, which the record checks."""
        self._fleet.tally.repeats += 1
        self._put(Asked(done.request, done.action_id, done.fields, perf_counter_ns(), _no_more))

    def flush(self) -> None:
        """Send what was asked for."""
        out, self._out = self._out, []
        for start in range(0, len(out), IN_FRAME_MAX):
            self._send(wire.frame(b"".join(out[start : start + IN_FRAME_MAX])))

    def _put(self, asked: Asked) -> None:
        self._number += 1
        self._asked[self._number] = asked
        self._write(self._number, asked)

    def _write(self, request_id: int, asked: Asked) -> None:
        asked.again_ns = 0
        if self.playing:
            ids = (request_id, asked.action_id) if asked.action_id else (request_id,)
            self._out.append(self._fleet.pack([code_of(asked.request), *ids, *asked.fields]))

    # --- being answered ---

    def _granted(self, request_id: int, seq: int, result: Any) -> None:
        asked = self._asked.pop(request_id, None)
        if asked is None:
            self._fleet.tally.error(NOT_ASKED)
            return
        if not asked.action_id:
            asked.then(result)
            return
        tally = self._fleet.tally
        tally.acks += 1
        tally.acks_ms.add((perf_counter_ns() - asked.began_ns) / 1e6)
        self._note(asked.action_id, seq, result)
        asked.then(result)

    def _note(self, action_id: bytes, seq: int, result: Result) -> None:
        if self.record.setdefault(action_id, (seq, result)) != (seq, result):
            self._fleet.tally.error(ANOTHER_ANSWER)

    def _refused(self, request_id: int, code: int, message: str, retry_after_ms: int | None = None) -> None:
        asked = self._asked.get(request_id)
        if asked is None:
            super()._refused(request_id, code, message, retry_after_ms)
            return
        self._fleet.tally.refusals[_NAMES.get(code, str(code))] += 1
        if retry_after_ms is not None:
            asked.again_ns = perf_counter_ns() + retry_after_ms * 1_000_000
            return
        del self._asked[request_id]
        if asked.action_id in self.record:
            self._fleet.tally.error(ANOTHER_ANSWER)
        asked.then(None)

    # --- lines ---

    def _enter(self, player_id: int, x: float, y: float) -> None:
        """What was not answered is asked again, in its order."""
        super()._enter(player_id, x, y)
        self._out.clear()
        for request_id, asked in self._asked.items():
            self._write(request_id, asked)
        self.flush()

    def wake(self, now_ns: int) -> None:
        """What was put off until now is asked again."""
        super().wake(now_ns)
        for request_id, asked in self._asked.items():
            if 0 < asked.again_ns <= now_ns:
                self._write(request_id, asked)
        self.flush()


def _no_more(_: Result | None) -> None:
    """Nothing follows from an answer that came before."""
