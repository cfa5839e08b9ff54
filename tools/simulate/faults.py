"""What goes wrong, and when: drawn for each seed.

Each fault is a function of the town (town.py) at the moment it happens. What goes wrong with single messages (sent twice, late, out of
order, under another's action_id) lies with the players and the network.
"""

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tools.simulate.town import Town

FAULTS_MIN, FAULTS_MAX = 2, 8  # in one run
BEGIN_S, END_S = 0.5, 12.0  # when they happen
STEPS_MAX = 150  # a crash comes after so many more steps of the process
SAVES_MAX = 3
SHORT_S = 0.3, 3.0
LONG_S = 1.0, 8.0
HANG_S = 1.0, 15.0  # longer than the store waits before it cuts the line
LOOP_JUMP_S = 0.2, 90.0  # longer than answers are kept in memory
WALL_JUMP_MS = 10**9
LATE_S = 0.5, 6.0


def crash(town: "Town") -> None:
    """kill -9 between any two steps."""
    town.host.process.steps_left = town.random.randint(0, STEPS_MAX)


def restart(town: "Town") -> None:
    """SIGTERM."""
    town.host.stop()


def commit_lost(town: "Town") -> None:
    """The line breaks before a commit."""
    town.disk.lose_saves += town.random.randint(1, SAVES_MAX)


def commit_unknown(town: "Town") -> None:
    """The line breaks after a commit."""
    town.disk.hide_saves += town.random.randint(1, SAVES_MAX)


def commit_late(town: "Town") -> None:
    """The line breaks while a commit is on its way; it comes through later."""
    town.disk.delay_saves += 1


def store_slow(town: "Town") -> None:
    """Everything takes long."""
    town.disk.slow_until_s = town.clock.now_s + town.random.uniform(*LONG_S)


def store_away(town: "Town") -> None:
    """Connections are refused."""
    town.disk.away_until_s = town.clock.now_s + town.random.uniform(*LONG_S)


def store_hangs(town: "Town") -> None:
    """Nothing comes back."""
    town.disk.hangs_until_s = town.clock.now_s + town.random.uniform(*HANG_S)


def paused(town: "Town") -> None:
    """SIGSTOP for a while."""
    town.host.process.pause(town.random.uniform(*LONG_S))


def second_server(town: "Town") -> None:
    """Another server is started while one is paused, or even runs."""
    if town.random.random() < 0.8:
        town.host.process.pause(town.random.uniform(*LONG_S))
    town.start_host()


def wall_clock_jumps(town: "Town") -> None:
    """Back or forward."""
    town.wall_ahead_ms += town.random.randint(-WALL_JUMP_MS, WALL_JUMP_MS)


def loop_clock_jumps(town: "Town") -> None:
    """The machine slept."""
    town.host.process.jump(town.random.uniform(*LOOP_JUMP_S))


def lines_lost(town: "Town") -> None:
    """Some connections break."""
    for connection in town.lines():
        if town.random.random() < 0.6:
            town.cut(connection)


def line_stalls(town: "Town") -> None:
    """What somebody sends comes late: after they have tried again on another line."""
    for connection in town.lines():
        if town.random.random() < 0.4:
            stalled_s = town.clock.now_s + town.random.uniform(*LATE_S)
            connection.up_free_s = max(connection.up_free_s, stalled_s)


def gateway_lost(town: "Town") -> None:
    """A process of connections dies, and a new one takes its place."""
    if town.host.open:
        town.host.new_connection_side()
        for connection in town.lines():
            town.cut(connection)


def slow_client(town: "Town") -> None:
    """Somebody reads late for a while."""
    player = town.random.choice(town.players)
    player.lag_s = town.random.uniform(*SHORT_S)
    town.clock.after(town.random.uniform(*LONG_S), setattr, player, "lag_s", 0.0)


Fault = Callable[["Town"], None]
FAULTS: tuple[Fault, ...] = (
    crash,
    crash,
    restart,
    commit_lost,
    commit_unknown,
    commit_unknown,
    commit_late,
    store_slow,
    store_away,
    store_hangs,
    paused,
    second_server,
    wall_clock_jumps,
    loop_clock_jumps,
    lines_lost,
    line_stalls,
    gateway_lost,
    slow_client,
)


def plan(random: Random) -> list[tuple[float, Fault]]:
    """When what goes wrong. Some come together: a crash soon after another fault is where the trouble is."""
    planned: list[tuple[float, Fault]] = []
    for _ in range(random.randint(FAULTS_MIN, FAULTS_MAX)):
        at_s = random.uniform(BEGIN_S, END_S)
        planned.append((at_s, random.choice(FAULTS)))
        if random.random() < 0.4:
            planned.append((at_s + random.uniform(0.0, 1.0), random.choice(FAULTS[:8])))
    return sorted(planned, key=lambda one: one[0])
