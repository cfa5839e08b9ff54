"""The files around the code agree with it: lock files, changelog, container files, settings, and what the documents mention."""

import ast
import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from server.config import OTHER_VARIABLES, Config, leaves, settings, variable_of

ROOT = Path(__file__).parents[1]
LOCKS = ("requirements.lock", "requirements-dev.lock")
DOCUMENTS = ("README.md", "ARCHITECTURE.md", "CHANGELOG.md")
# Below these versions a part has a known hole or lacks what we lean on.
FLOORS = {"pyjwt": "2.13", "msgpack": "1.2.1", "aiohttp": "3.14.3"}


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def pins(lock: str) -> dict[str, Version]:
    """Name -> version of every package in a lock file; the marker of a platform does not matter here."""
    return {
        match[1]: Version(match[2])
        for match in re.finditer(r"^([a-z0-9][a-z0-9._-]*)==([^ ;\\]+)", text(lock), re.MULTILINE)
    }


def requirements() -> dict[str, list[Requirement]]:
    """What pyproject.toml asks for, by the lock file that must hold it."""
    project = tomllib.loads(text("pyproject.toml"))
    groups = project["dependency-groups"]
    runtime = [*project["project"]["dependencies"], *groups["build"]]
    dev = [entry for entry in groups["dev"] if isinstance(entry, str)]
    return {
        "requirements.lock": [Requirement(line) for line in runtime],
        "requirements-dev.lock": [Requirement(line) for line in [*runtime, *dev]],
    }


@pytest.mark.parametrize("lock", LOCKS)
def test_the_lock_file_fits_pyproject(lock: str) -> None:
    locked = pins(lock)
    misfits = [
        str(wanted)
        for wanted in requirements()[lock]
        if locked.get(wanted.name.lower()) not in wanted.specifier  # type: ignore[operator]
    ]
    assert misfits == [], "run: make lock"


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_has_a_checksum_and_none_is_below_its_floor(lock: str) -> None:
    blocks = re.split(r"^(?=[a-z0-9])", text(lock), flags=re.MULTILINE)[1:]
    assert [block.splitlines()[0] for block in blocks if "--hash=sha256:" not in block] == []
    assert all(pins(lock)[name] >= Version(floor) for name, floor in FLOORS.items())


def test_development_runs_on_the_versions_that_are_shipped() -> None:
    shipped, development = (pins(lock) for lock in LOCKS)
    assert {name: development.get(name) for name in shipped} == shipped


def test_the_changelog_begins_with_the_version_in_pyproject() -> None:
    version = tomllib.loads(text("pyproject.toml"))["project"]["version"]
    released = re.findall(r"^## \[(\d[^\]]*)\] - \d{4}-\d\d-\d\d$", text("CHANGELOG.md"), re.MULTILINE)
    assert released[0] == version


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_document_mentions_no_missing_file(document: str) -> None:
    assert [path for path in mentioned(document) if not (ROOT / path).exists()] == []


def mentioned(document: str) -> Iterator[str]:
    """Relative link targets, and what looks like a file of ours between backticks."""
    content = text(document)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", content) + re.findall(r'src="([^"]+)"', content):
        if not re.match(r"[a-z]+:", target):
            yield target
    for quoted in re.findall(r"`([\w.-]+(?:/[\w.-]+)+/?|[\w-]+\.(?:md|toml|yml|lock))`", content):
        if (ROOT / quoted.split("/")[0]).exists():
            yield quoted


@pytest.mark.parametrize("document", [*DOCUMENTS[:2], ".ci/run"])
def test_every_make_target_that_is_mentioned_exists(document: str) -> None:
    targets = set(re.findall(r"^([a-z]+):.*##", text("Makefile"), re.MULTILINE))
    assert targets >= {"run", "install", "test", "check", "bench"}
    assert set(re.findall(r"(?:^\s*|`)make ([a-z]+)", text(document), re.MULTILINE)) <= targets


@pytest.mark.parametrize("file", [".ci/run", "Dockerfile", "docker-compose.yml", "Makefile", "README.md"])
def test_every_variable_that_is_mentioned_exists(file: str) -> None:
    known = OTHER_VARIABLES | {variable_of(name) for name in [*leaves(), "a.b"]}  # a.b stands for any
    assert set(re.findall(r"LANDWORLD_[A-Z_]*[A-Z]", text(file))) - known == set()


def test_the_ci_script_can_be_run() -> None:
    assert os.access(ROOT / ".ci/run", os.X_OK)


def read_settings(file: Path) -> set[str]:
    """What a file reads of sections, as "section.name"; a section goes by its own name or is an argument annotated with its class."""
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    classes = {type(section).__name__: name for name, section in Config()}
    arguments = {
        node.arg: classes[node.annotation.id]
        for node in nodes
        if isinstance(node, ast.arg) and isinstance(node.annotation, ast.Name)
        if node.annotation.id in classes
    }
    read = set()
    for node in nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute | ast.Name):
            owner = node.value.attr if isinstance(node.value, ast.Attribute) else node.value.id
            owner = owner.lstrip("_")  # an argument is kept under its name
            read.add(f"{arguments.get(owner, owner)}.{node.attr}")
    return read


def test_every_setting_is_read_somewhere() -> None:
    """A setting that nothing reads is a lie to the person who sets it. Rates are asked for in tests/server/test_session.py."""
    files = [file for layer in ("server", "persistence", "tools") for file in (ROOT / layer).rglob("*.py")]
    read = set[str]().union(*(read_settings(file) for file in files if file != ROOT / "server/config.py"))
    names = [name if "." in name else f"config.{name}" for name, _ in settings() if ".rates." not in name]
    assert [name for name in [*names, "limits.rates"] if name not in read] == []


# --- guards ------------------------------------------------------------------------------------------------------

LAYERS = ("protocol", "world", "persistence", "server", "tools")
DOTTED = re.compile(r"\b[A-Za-z_]+(?:\.(?!(?:py|js)\b)[A-Za-z_]+)+")  # but no file


def guards() -> Iterator[tuple[str, str, str]]:
    """Each `Owner.name` that a docstring names as a guard, and the test that does."""
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                _, _, named = re.sub("Guards:", "Guard:", ast.get_docstring(node) or "").partition("Guard:")
                for dotted in DOTTED.findall(named):
                    owner, name = dotted.split(".")[-2:]
                    yield owner, name, f"{file.name}::{node.name}"


def test_the_guards_that_tests_name_are_there() -> None:
    """By their words only: what belongs to a module, a class or a record must stand where that is."""
    sources = {
        file: file.read_text(encoding="utf-8")
        for layer in LAYERS
        for pattern in ("*.py", "*.js")
        for file in (ROOT / layer).rglob(pattern)
        if "vendor" not in file.parts
    }
    gone = set()
    for owner, name, test in guards():
        begins = re.compile(rf"^(?:export )?(?:class {owner}\b|{owner} ?=)", re.MULTILINE)
        homes = [
            source for file, source in sources.items() if file.name == f"{owner}.py" or begins.search(source)
        ]
        known = homes or owner[0].isupper()  # else it is a setting, a table or of the standard library
        if known and not any(re.search(rf"\b{name}\b", source) for source in homes):
            gone.add(f"{test}: {owner}.{name}")
    assert not gone
