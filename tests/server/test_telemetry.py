"""What the log tells of an error."""

from typing import Literal

import pytest
import structlog

from server.config import LogConfig
from server.telemetry import set_up_logs


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_traceback_in_the_log_shows_no_values(
    form: Literal["console", "json"], capsys: pytest.CaptureFixture[str]
) -> None:
    """Guard: `plain_traceback` and `show_locals=False`. By default every variable is printed, tokens among them."""
    set_up_logs(LogConfig(format=form))
    try:
        secret = "se" + "same"
        try:
            raise ValueError(len(secret))
        except ValueError as error:
            structlog.get_logger().error("broken", exc_info=error)
    finally:
        structlog.reset_defaults()
    said = capsys.readouterr().err
    assert "ValueError" in said
    assert "test_telemetry.py" in said
    assert "sesame" not in said
