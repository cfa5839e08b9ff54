"""The bench of the browser client runs to its end. No figure is judged: the machine may be busy."""

import json
import subprocess
import sys

import pytest
from playwright.sync_api import Browser


@pytest.mark.alone
def test_a_small_crowd_in_sight_is_measured(chromium: Browser) -> None:
    command = [
        sys.executable,
        "-m",
        "tools.cli",
        "bench",
        "browser",
        "--players",
        "3",
        "--seconds",
        "5",
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert 0 < found["in_sight"] <= 3  # they walk about
    assert found["frames"] > 0
    assert 0 < found["script_ms_p50"] <= found["script_ms_p99"]
    assert found["renderer"]
