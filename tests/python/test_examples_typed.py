"""Examples are typed: what README, docs and plugins print passes mypy --strict, as typed projects need that copy it.

Plugins without hints work as well; these are for those who copy.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from doc_pages import PAGES, PROJECT, printed_plugins, read


def mypy(folder: Path) -> list[str]:
    """Return the errors that a strict mypy finds in the Python files of a folder."""
    files = sorted(str(file.relative_to(folder)) for file in folder.glob("*.py"))
    ended = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--scripts-are-modules", *files],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode in (0, 1), ended.stdout + ended.stderr
    return [line for line in ended.stdout.splitlines() if ": error: " in line]


def write_blocks(pages: dict[str, list[tuple[str, str]]], folder: Path) -> None:
    """Write each block as a file that has the name of its place, and the plugins and helpers that blocks import."""
    for blocks in pages.values():
        for place, text in blocks:
            name = Path(place).name if place.endswith(".py") else f"{re.sub(r'[^a-z0-9]', '_', place.lower())}.py"
            (folder / name).write_text(text)
    package = folder / "plugins"
    package.mkdir()
    for name, text in printed_plugins().items():
        (folder / name).write_text(text)


def test_every_example_of_readme_and_docs_passes_a_strict_mypy(tmp_path: Path) -> None:
    """Each Python block is a whole plugin, test or program, with hints that fit the package's own."""
    pages = {
        name: [(step.notes.get("file", step.place), step.text) for step in read(name) if step.kind == "python"]
        for name in PAGES
    }
    assert pages["README.md"], "README prints a plugin"
    write_blocks(pages, tmp_path)
    assert [] == mypy(tmp_path)


def test_every_plugin_of_the_repository_passes_a_strict_mypy(tmp_path: Path) -> None:
    """The folder that `make serve` serves."""
    for file in sorted((PROJECT / "plugins").glob("*.py")):
        shutil.copy(file, tmp_path)
    assert (tmp_path / "hello.py").exists()
    assert [] == mypy(tmp_path)


@pytest.mark.parametrize(
    ("block", "error"),
    [
        ("def request_handler(data):\n    return 200, data\n", "missing a type annotation"),
        ("from plugincore import Request\n\n\ndef path(one: Request) -> int:\n    return one.path\n", "return value"),
    ],
)
def test_an_example_without_hints_or_with_wrong_ones_is_found(block: str, error: str, tmp_path: Path) -> None:
    """Nothing passes because it was not looked at."""
    write_blocks({"page.md": [("docs/page.md:3", block)]}, tmp_path)
    errors = mypy(tmp_path)
    assert 1 == len(errors)
    assert errors[0].startswith("docs_page_md_3.py:")
    assert error in errors[0]
