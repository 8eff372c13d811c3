"""Virtual environments for servers that must not see what the tests themselves have installed."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

import plugincore


def create(folder: Path, *packages: Path) -> Path:
    """Make an environment of this Python in `folder` that holds `packages` and nothing else, and return `folder`."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    for package in packages:
        (site_packages(folder) / package.name).symlink_to(package)
    return folder


def site_packages(environment: Path) -> Path:
    """Return the folder of its packages."""
    return Path(sysconfig.get_path("purelib", "posix_prefix", {"base": str(environment)}))


def without_psutil(folder: Path) -> Path:
    """Make an environment with the plugincore under test but without psutil, and return its interpreter."""
    assert plugincore.__file__ is not None
    return create(folder, Path(plugincore.__file__).parent) / "bin" / "python"
