"""The facts about the package are stated in one place each, and hold for what is installed."""

from __future__ import annotations

import importlib.metadata
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import plugincore
from support.server import command
from support.wait import TIMEOUT

PROJECT = Path(__file__).parent.parent.parent


def toml(name: str) -> dict[str, Any]:
    """Return what a TOML file of the project contains."""
    return tomllib.loads((PROJECT / name).read_text())


def test_the_version_is_that_of_the_crate() -> None:
    """Cargo.toml states the version; wheel, package and command line have it from there."""
    version = toml("Cargo.toml")["package"]["version"]
    assert version == plugincore.__version__
    assert version == importlib.metadata.version("plugincore")
    printed = subprocess.run([*command(), "--version"], capture_output=True, text=True, timeout=TIMEOUT, check=True)
    assert f"plugincore {version}\n" == printed.stdout
    assert "version" not in toml("pyproject.toml")["project"]


def test_the_licence_is_the_same_for_crate_and_wheel() -> None:
    """Cargo.toml and pyproject.toml name the licence whose text is in LICENSE."""
    licence = toml("Cargo.toml")["package"]["license"]
    assert (
        licence
        == toml("pyproject.toml")["project"]["license"]
        == importlib.metadata.metadata("plugincore")["License-Expression"]
    )
    assert "Apache License" in (PROJECT / "LICENSE").read_text()
