"""Check that the `rust-version` of Cargo.toml is the oldest Rust that plugincore can be built with.

`make lint` runs this. Clippy's lint `incompatible_msrv` covers the standard library's functions that our own code uses;
this script covers the dependencies in Cargo.lock, and README, which names the version for its readers.

Caveat: a crate that states no version of its own cannot be checked, and neither can the syntax of our own code.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parent.parent


def numbers(version: str) -> tuple[int, ...]:
    """Return a version as numbers that can be compared: 1.88 and 1.88.0 are the same."""
    return tuple(map(int, [*version.split("."), "0"][:3]))


def faults() -> list[str]:
    """Return what contradicts the stated version."""
    metadata = json.loads(
        subprocess.run(
            ["cargo", "metadata", "--locked", "--format-version=1"], cwd=PROJECT, check=True, capture_output=True
        ).stdout
    )
    packages = {package["id"]: package for package in metadata["packages"]}
    stated = packages[metadata["resolve"]["root"]]["rust_version"]
    found = [
        f"{package['name']} {package['version']} needs Rust {package['rust_version']}, Cargo.toml states {stated}"
        for package in packages.values()
        if package["rust_version"] and numbers(package["rust_version"]) > numbers(stated)
    ]
    named = re.findall(r"\((\d+\.\d+) or later\)", (PROJECT / "README.md").read_text())
    if named != [stated]:
        found.append(f"README.md names Rust {named}, Cargo.toml states {stated}")
    return found


if __name__ == "__main__":
    sys.exit("\n".join(faults()) or None)
