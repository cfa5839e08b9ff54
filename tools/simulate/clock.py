"""Virtual time: one queue of everything that will happen, and the processes it happens to.

A `Process` is an asyncio event loop without a machine under it: no sockets, no threads, no waiting. Its clock is the scheduler's, which
jumps from one event to the next; what asyncio gives to a thread is done at once, after a moment. Several processes share one scheduler,
so what two servers do to one store happens in one order, and the same seed gives the same order.

A process can be killed between any two of its steps (its memory is never looked at again), be paused as by SIGSTOP (its clock goes on
meanwhile), and have its clock jump forward, as after a machine slept. A step is one callback, as asyncio runs them.
"""

import asyncio
import heapq
import inspect
import itertools
from asyncio import Future, Handle, Task, TimerHandle
from collections.abc import Callable, Coroutine
from contextvars import Context
from random import Random
from typing import Any

THREAD_S_MAX = 0.02  # what is given to a thread is done within this time


class Scheduler:
    """What will happen, in order of time; what falls on the same time happens in the order in which it was asked for."""

    def __init__(self, random: Random) -> None:
        self.now_s = 0.0
        self.random = random
        self._order = itertools.count()
        self._stopped = False
        self._events: list[tuple[float, int, Process | None, Handle]] = []
        self._outside = self.process("outside")  # lends its handles to what no process does

    def process(self, name: str) -> "Process":
        """A new one."""
        return Process(self, name)  # type: ignore[abstract]  # what it lacks nobody here may ask for

    def after(self, delay_s: float, call: Callable[..., object], *args: Any) -> None:
        """Something happens outside of all processes: in the network, on the disk, to somebody."""
        self.at(self.now_s + delay_s, call, *args)

    def at(self, when_s: float, call: Callable[..., object], *args: Any) -> None:
        """The same, at a time; what is given the same time keeps its order."""
        handle = Handle(call, args, self._outside)
        heapq.heappush(self._events, (when_s, next(self._order), None, handle))

    def push(self, when_s: float, process: "Process", handle: Handle) -> None:
        """A step of a process."""
        heapq.heappush(self._events, (max(when_s, self.now_s), next(self._order), process, handle))

    def hurry(self, process: "Process", by_s: float) -> None:
        """All that a process waits for comes earlier, since its clock jumped."""
        self._events = [
            (max(self.now_s, when_s - by_s) if whose is process else when_s, order, whose, handle)
            for when_s, order, whose, handle in self._events
        ]
        heapq.heapify(self._events)

    def stop(self) -> None:
        """Ends `run` after what happens now."""
        self._stopped = True

    def run(self, until_s: float) -> None:
        """Lets things happen up to a time, or until somebody stops it."""
        self._stopped = False
        while self._events and not self._stopped:
            events = self._events
            when_s, order, process, handle = heapq.heappop(events)
            if when_s > until_s:
                break
            if handle.cancelled() or (process is not None and not process.alive):
                continue
            self.now_s = when_s
            if process is None:
                handle._run()
            elif process.paused_until_s > when_s:
                heapq.heappush(events, (process.paused_until_s, order, process, handle))
            else:
                process.step(handle)
        if not self._stopped:
            self.now_s = max(self.now_s, until_s)


class Process(asyncio.AbstractEventLoop):
    """The event loop of one server process. `steps_left`: it dies after so many more."""

    def __init__(self, scheduler: Scheduler, name: str) -> None:
        self.name = name
        self.alive = True
        self.paused_until_s = 0.0
        self.steps_left: int | None = None
        self.on_death: Callable[[], None] = lambda: None
        self._begun: list[Coroutine[Any, Any, Any]] = []
        self.errors: list[str] = []  # what nobody caught
        self._scheduler = scheduler
        self._ahead_s = 0.0  # of the scheduler's clock
        self._disturbed_s = -1.0  # when it last lost time

    def step(self, handle: Handle) -> None:
        """One callback."""
        if self.steps_left is not None:
            self.steps_left -= 1
            if self.steps_left < 0:
                self.kill()
                return
        asyncio._set_running_loop(self)
        try:
            handle._run()
        finally:
            asyncio._set_running_loop(None)

    def kill(self) -> None:
        """kill -9."""
        self.alive = False
        for work in self._begun:
            if inspect.getcoroutinestate(work) == inspect.CORO_CREATED:
                work.close()  # or Python warns that it never ran
        self.on_death()

    def jump(self, by_s: float) -> None:
        """The clock jumps forward."""
        self._ahead_s += by_s
        self._disturbed_s = max(self._disturbed_s, self.time())
        self._scheduler.hurry(self, by_s)

    def pause(self, for_s: float) -> None:
        """SIGSTOP, and SIGCONT after that time."""
        self.paused_until_s = max(self.paused_until_s, self._scheduler.now_s + for_s)
        self._disturbed_s = self.paused_until_s + self._ahead_s

    def disturbed_since(self, time_s: float) -> bool:
        """Whether it was paused, or its clock jumped, since a time of its clock."""
        return self._disturbed_s >= time_s

    # --- what asyncio asks of an event loop ---

    def time(self) -> float:
        """Seconds, never backwards."""
        return self._scheduler.now_s + self._ahead_s

    def call_soon(  # type: ignore[override]
        self, callback: Any, *args: Any, context: Context | None = None
    ) -> Handle:
        """The next step but those that wait already."""
        handle = Handle(callback, args, self, context)
        self._scheduler.push(0.0, self, handle)
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Any, *args: Any, context: Context | None = None
    ) -> TimerHandle:
        """A step some time from now."""
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Context | None = None
    ) -> TimerHandle:
        """A step at a time of this process's clock."""
        handle = TimerHandle(when, callback, args, self, context)
        self._scheduler.push(when - self._ahead_s, self, handle)
        return handle

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Future[Any]:  # type: ignore[override]
        """No thread: it is done a moment later, all at once."""
        future: Future[Any] = self.create_future()
        self.call_later(self._scheduler.random.uniform(0, THREAD_S_MAX), self._do, future, func, args)
        return future

    def _do(self, future: Future[Any], func: Callable[..., Any], args: tuple[Any, ...]) -> None:
        if future.cancelled():
            return
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 (whoever waits for it is told, as a thread would tell)
            future.set_exception(error)

    def create_future(self) -> Future[Any]:
        """A future of this process."""
        return Future(loop=self)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, Any], *, name: str | None = None, context: Context | None = None
    ) -> Task[Any]:
        """A task of this process."""
        self._begun.append(coro)
        return Task(coro, loop=self, name=name, context=context)

    def get_debug(self) -> bool:
        """Never."""
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """What nobody caught is a finding; a dead process's tasks were not waited for, and need not be."""
        if self.alive:
            self.errors.append(f"{context.get('message')}: {context.get('exception')!r}")

    def _timer_handle_cancelled(self, handle: TimerHandle) -> None:
        """It is passed over when its time comes."""
