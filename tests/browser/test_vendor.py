"""What is kept of others' work is what they published, with their licence."""

import hashlib
import json
from pathlib import Path

import pytest

VENDOR = Path(__file__).parents[2] / "tools/browser/vendor"
PACKAGES = json.loads((VENDOR / "versions.json").read_text())["packages"]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package["name"])
def test_vendored_files_are_those_of_the_published_version(package: dict[str, str | dict[str, str]]) -> None:
    folder = VENDOR / str(package["folder"])
    found = {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*")
        if file.is_file()
    }
    assert found == package["sha256"]
    assert "LICENSE" in found


def test_nothing_else_is_vendored() -> None:
    folders = {str(package["folder"]) for package in PACKAGES}
    assert {path.name for path in VENDOR.iterdir()} == folders | {"versions.json", "msgpack.mjs"}
