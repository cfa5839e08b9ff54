"""Settings: where they come from, what is refused and in which words, and that config.toml says what the code does."""

import os
import re
import tomllib
from pathlib import Path

import pytest
from pydantic import ValidationError

from protocol.messages import Rate
from server import config
from server.config import RELATIONS, Config, ConfigError, RatesConfig, load_config, settings, variable_of

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No LANDWORLD_* variable and no config.toml, whatever the machine has."""
    for name in [name for name in os.environ if name.startswith("LANDWORLD_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def written(text: str) -> Path:
    """A config.toml in the working directory."""
    file = Path("config.toml")
    file.write_text(text, encoding="utf-8")
    return file


def refusal(file: Path | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    return str(caught.value)


# The file in the repository


def test_config_toml_is_the_one_made_from_the_code() -> None:
    assert (ROOT / "config.toml").read_text(encoding="utf-8") == config.default_file(), (
        "run: python -m server.config > config.toml"
    )


def test_config_toml_sets_every_setting_to_its_default() -> None:
    assert load_config(ROOT / "config.toml").model_dump() == Config().model_dump()
    in_file = tomllib.loads((ROOT / "config.toml").read_text(encoding="utf-8"))
    for name, _ in settings():
        value: object = in_file
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        assert (value is None) == (name in config.SECRETS), name


def test_every_setting_in_config_toml_has_its_meaning_and_its_default_above_it() -> None:
    lines = (ROOT / "config.toml").read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        if match := re.match(r"(\w+) = (.*)", line):
            assert re.match(r"# \(.*default: ", lines[number - 1]), line
            assert f"default: {match[2]}" in lines[number - 1]
            assert lines[number - 2].startswith("# "), line


def test_every_number_has_a_unit_in_its_text_and_a_range() -> None:
    counts = {"server.port", "http.port", "world.seed", "mail.port"}
    for name, field in settings():
        if field.annotation in (int, float):
            bounds = {bound for m in field.metadata for bound in ("ge", "le") if hasattr(m, bound)}
            assert bounds == {"ge", "le"}, name
            assert (name in counts) == (config._unit(field) == ""), name


def test_every_rate_class_of_the_protocol_has_a_rate() -> None:
    """But for hellos: a connection says one, so theirs is a limit of the address."""
    assert set(RatesConfig.model_fields) == {rate.value for rate in Rate if rate is not Rate.HELLO}
    assert Config().limits.hellos_per_address.burst


# Where values come from


def test_without_file_and_environment_the_defaults_hold() -> None:
    assert load_config().model_dump() == Config().model_dump()


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written("[server]\nport = 1000\nmax_players = 7\n")
    monkeypatch.setenv("LANDWORLD_SERVER__PORT", "2000")
    loaded = load_config()
    assert (loaded.server.port, loaded.server.max_players) == (2000, 7)
    assert loaded.server.guests_allowed is Config().server.guests_allowed


def test_landworld_config_names_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    written("[server]\nport = 1000\n")
    other = tmp_path / "other.toml"
    other.write_text("[server]\nport = 3000\n", encoding="utf-8")
    monkeypatch.setenv("LANDWORLD_CONFIG", str(other))
    assert load_config().server.port == 3000


def test_landworld_data_is_the_data_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANDWORLD_DATA", "/srv/world")
    assert load_config().data == Path("/srv/world")


def test_a_part_of_a_rate_leaves_the_other_part_at_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANDWORLD_LIMITS__RATES__CHAT__PER_S", "9")
    chat = load_config().limits.rates.chat
    assert (chat.per_s, chat.burst) == (9, Config().limits.rates.chat.burst)


def test_a_list_in_the_environment_is_divided_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANDWORLD_SERVER__ORIGINS", "same-host, https://example.org:8443")
    assert load_config().server.origins == ("same-host", "https://example.org:8443")


def test_an_empty_variable_counts_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANDWORLD_SIGNING_KEY", "")
    monkeypatch.setenv("LANDWORLD_SERVER__PORT", "")
    assert load_config().signing_key is None


def test_settings_cannot_be_changed_after_the_start() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Config().server.port = 1


def test_secrets_do_not_show_when_settings_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANDWORLD_SIGNING_KEY", "k" * 32)
    monkeypatch.setenv("LANDWORLD_PERSISTENCE__URL", "postgresql://me:hush@db/world")
    loaded = load_config()
    assert loaded.persistence.url == "postgresql://me:hush@db/world"
    assert "kkk" not in repr(loaded)
    assert "hush" not in repr(loaded)


# What is refused, and how


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "[server]\nport = 70_000",
            ["server.port = 70_000 (config.toml)", "a whole number from 0 to 65_535"],
        ),
        ("[server]\nport = true", ["server.port = true", "do not fit here"]),
        ('[server]\nport = "x"', ['server.port = "x"', "a whole number"]),
        ("[server]\nprot = 1", ["server.prot", "no such setting", "did you mean server.port?"]),
        ("[server]\ntick_hz = 20", ["server.tick_hz", "did you mean world.tick_hz?"]),
        ("[wrold]\nseed = 1", ["wrold", "did you mean world?"]),
        ("server = 3", ["server = 3", "expected a table"]),
        ("[session]\nresume_s = nan", ["session.resume_s = nan", "a number from 0 to 3600 (seconds)"]),
        ("[session]\nresume_s = inf", ["session.resume_s = inf"]),
        ('[log]\nlevel = "loud"', ["log.level", 'one of "debug", "info", "warning", "error"']),
        ('data = " "', ["data", "write a directory"]),
        (
            '[server]\norigins = ["https://Example.org/"]',
            ["server.origins", "is no origin", "without a path"],
        ),
        ('[server]\norigins = ["https://example.org:443"]', ["server.origins", "browsers leave it out"]),
        ('[server]\norigins = ["https://example.org:70000"]', ["server.origins", "a port over 65535"]),
        ('[server]\norigins = ["http://[2001:db8:0::1]"]', ["server.origins", "write [2001:db8::1]"]),
        ('[server]\norigins = ["http://[::1::1]"]', ["server.origins", "::1::1"]),
        ('[server]\norigins = ["null"]', ["server.origins", "is no origin"]),
        ('[server]\norigins = ["https://*.example.org"]', ["server.origins", "is no origin"]),
        ('[persistence]\nurl = "mysql://h/d"', ["persistence.url = (hidden)", "postgresql://user@host"]),
        ("[limits.rates]\nping = 3", ["limits.rates.ping = 3", "per_s"]),
        (
            "[limits.rates]\nping = { per_s = 0 }",
            ["limits.rates.ping.per_s = 0", "a number over 0 to 10_000"],
        ),
        ("[limits.rates]\nping = { brust = 3 }", ["did you mean limits.rates.ping.burst?"]),
        (
            "[limits]\nhello_timeout_s = 0.5",
            ["limits.hello_timeout_s = 0.5", "a whole number from 1 to 60 (seconds)"],
        ),
        ("[limits]\nidle_timeout_s = 1", ["limits.idle_timeout_s = 1", "from 2"]),
        (
            '[server]\ntrusted_proxies = ["10.0.0.1/8"]',
            ["server.trusted_proxies", "host bits", "write an address, or a network"],
        ),
        ('[http]\ngame_url = "https://example.org"', ["http.game_url", 'like "wss://world.example.org/"']),
        ("[server\n", ["config.toml is not TOML", "line 1"]),
        ('[mail]\npassword = "hush"', ["mail.password", "no place in a file", "LANDWORLD_MAIL__PASSWORD"]),
        ('[mail]\nfrom_address = "Ada"', ["mail.from_address", "world@example.org"]),
        ('signing_key = "hush"', ["signing_key", "a secret has no place in a file", "LANDWORLD_SIGNING_KEY"]),
        (
            '[persistence]\nurl = "postgresql://me:hush@db/world"',
            ["persistence.url", "a password has no place in a file", "LANDWORLD_PERSISTENCE__URL"],
        ),
    ],
)
def test_a_mistake_in_the_file_is_told_with_what_is_expected(text: str, words: list[str]) -> None:
    written(text)
    message = refusal()
    assert all(word in message for word in words), message
    assert "hush" not in message


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("LANDWORLD_SERVER__PORT", "x", ['server.port = "x" (LANDWORLD_SERVER__PORT in the environment)']),
        ("LANDWORLD_SERVER__PROT", "1", ["LANDWORLD_SERVER__PROT", "did you mean LANDWORLD_SERVER__PORT?"]),
        ("LANDWORLD_SREVER__PORT", "1", ["did you mean LANDWORLD_SERVER__PORT?"]),
        ("LANDWORLD_SERVER_PORT", "1", ["did you mean LANDWORLD_SERVER__PORT?"]),
        ("LANDWORLD_DAAT", "x", ["did you mean LANDWORLD_DATA?"]),
        ("LANDWORLD_SERVER", '{"port": 1}', ["LANDWORLD_SERVER ", "it is a table"]),
        ("LANDWORLD_LIMITS__RATES__CHAT", '{"per_s": 1}', ["LANDWORLD_LIMITS__RATES__CHAT", "it is a table"]),
        ("LANDWORLD_LIMITS__RATES__CHAT__BURST", "0", ["limits.rates.chat.burst", "from 1 to 100_000"]),
        ("LANDWORLD_SIGNING_KEY", "short-and-secret", ["signing_key = (hidden)", "at least 32 bytes"]),
        ("LANDWORLD_SEALING_KEY", "s" * 32 + ",short", ["sealing_key = (hidden)", "at least 32 bytes"]),
        ("LANDWORLD_SIGNING_KEY", f"{'s' * 32},{'s' * 32}", ["signing_key = (hidden)", "each once"]),
        ("LANDWORLD_LOOKUP_KEY", f"{'s' * 32},{'t' * 32}", ["lookup_key = (hidden)", "only one"]),
        (
            "LANDWORLD_CONFIG",
            "/nowhere/c.toml",
            ["no settings file /nowhere/c.toml; LANDWORLD_CONFIG names it"],
        ),
    ],
)
def test_a_mistake_in_the_environment_is_told_with_its_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, words: list[str]
) -> None:
    monkeypatch.setenv(variable, value)
    message = refusal()
    assert all(word in message for word in words), message
    assert "short-and-secret" not in message


def test_variables_that_kubernetes_sets_do_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANDWORLD_PORT", "tcp://10.0.0.1:8765")
    monkeypatch.setenv("LANDWORLD_SERVER_PORT", "tcp://10.0.0.1:8765")
    monkeypatch.setenv("LANDWORLD_SERVICE_HOST", "10.0.0.1")
    assert load_config().server.port == Config().server.port


def test_all_mistakes_are_told_at_once() -> None:
    written("[server]\nport = -1\n[http]\nport = -1\n[worl]\n")
    message = refusal()
    assert all(name in message for name in ("server.port", "http.port", "worl"))


@pytest.mark.parametrize("name", [".", "picture.toml", "absent.toml"])
def test_a_file_that_cannot_be_read_is_named(name: str) -> None:
    Path("picture.toml").write_bytes(b"\x89PNG\xff")
    assert name in refusal(Path(name))


# Settings that must fit together: for each row of RELATIONS, values that break it and nothing else

MISFITS = {
    ("server.port", "http.port"): "server.port=9000 http.port=9000",
    ("server.max_players", "limits.connections_max"): "server.max_players=13000",
    ("limits.connections_per_address", "limits.connections_max"): "limits.connections_per_address=13000",
    ("limits.ping_interval_s", "limits.idle_timeout_s"): "limits.ping_interval_s=16",
    ("limits.outbox_bytes_max", "interest.client_bytes_per_s"): "limits.outbox_bytes_max=65536 "
    "interest.client_bytes_per_s=65537",
    ("limits.chunk_queue_max", "limits.rates.chunk.burst"): "limits.rates.chunk.burst=8192",
    ("chat.text_chars_max", "limits.message_bytes_max"): "limits.message_bytes_max=1263",
    ("chat.radius_tiles", "interest.radius_cells"): "chat.radius_tiles=33",
    ("chat.history_on_enter", "chat.history_messages_max"): "chat.history_messages_max=29",
    ("market.price_min", "market.price_max"): "market.price_min=500 market.price_max=499",
    (
        "market.listing_min_s",
        "market.listing_max_days",
    ): "market.listing_min_s=86401 market.listing_max_days=1",
    ("interest.lower_at_share", "interest.raise_at_share"): "interest.lower_at_share=0.8",
    ("world.walk_speed_tiles_per_s", "world.tick_hz"): "world.walk_speed_tiles_per_s=20",
    ("world.pregenerate_radius_chunks", "interest.radius_cells"): "interest.radius_cells=4",
    ("world.pregenerate_radius_chunks", "world.chunks_loaded_max"): "world.chunks_loaded_max=168 "
    "server.max_players=18",
    ("mail.user", "mail.password"): "mail.user=ada",
    ("redis.url", "redis.secret"): "redis.url=redis://localhost:6379/0",
    ("mail.user", "mail.starttls"): "mail.user=ada mail.password=hush mail.starttls=false",
    ("server.max_players", "world.chunks_loaded_max"): "world.chunks_loaded_max=89999",
    ("accounts.requests_per_address_max", "accounts.requests_max"): "accounts.requests_max=64",
    ("accounts.argon2_lanes", "accounts.argon2_memory_kib"): "accounts.argon2_memory_kib=31 "
    "accounts.argon2_lanes=4",
}


def test_every_relation_has_a_misfit_to_show_it() -> None:
    assert {(row.first, row.second) for row in RELATIONS} == set(MISFITS)


@pytest.mark.parametrize(("pair", "values"), MISFITS.items())
def test_settings_that_do_not_fit_are_refused_by_both_names(
    monkeypatch: pytest.MonkeyPatch, pair: tuple[str, str], values: str
) -> None:
    for assignment in values.split():
        name, _, value = assignment.partition("=")
        monkeypatch.setenv(variable_of(name), value)
    message = refusal()
    assert len(message.splitlines()) == 2, message
    assert all(name in message for name in pair), message
    assert "in the environment" in message


def test_both_ports_may_be_free_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANDWORLD_SERVER__PORT", "0")
    monkeypatch.setenv("LANDWORLD_HTTP__PORT", "0")
    assert load_config().server.port == 0
