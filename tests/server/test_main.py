"""The start: what is asked of the system."""

import resource
from types import SimpleNamespace

import pytest

from server import main
from server.config import Config
from server.main import FILES_SPARE, allow_open_files


@pytest.mark.parametrize(
    ("soft", "hard", "set_to", "told"),
    [
        (1_024, 1_000_000, 3_000 + FILES_SPARE, False),
        (1_024, resource.RLIM_INFINITY, 3_000 + FILES_SPARE, False),
        (1_024, 2_048, 2_048, True),
        (2_048, 2_048, None, True),
        (100_000, 1_000_000, None, False),  # never lowered
    ],
)
def test_there_are_files_for_the_connections_that_may_come(
    soft: int, hard: int, set_to: int | None, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_limits: list[tuple[int, int]] = []
    said: list[str] = []
    monkeypatch.setattr(main, "log", SimpleNamespace(warning=lambda event, **words: said.append(event)))
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda kind, limits: set_limits.append(limits))
    config = Config.model_validate(
        {
            "server": {"max_players": 1_000},
            "limits": {"connections_max": 2_900},
            "http": {"connections_max": 100},
        }
    )
    allow_open_files(config)
    assert set_limits == ([] if set_to is None else [(set_to, hard)])
    assert said == (["open_files"] if told else [])
