"""Installed packages that were changed while an older version of them is loaded.

What is installed is imported once, so an update takes effect only after a restart. `outdated` finds that out from the
names of the ``*.dist-info`` folders on `sys.path`, which costs next to nothing. Caveat: packages that are installed
without such a folder are not seen.
"""

from __future__ import annotations

import re
import sys
from os import listdir
from os import path as ospath

_NAME = re.compile(r"(?P<name>.+)-(?P<version>[^-]+)\.dist-info")

_known: dict[str, tuple[str, str]] = {}
"""Folder and version of each distribution when it was first seen or, as long as it is not loaded, now; by its name."""

_told: dict[str, str] = {}
"""The installed version that was last returned for a distribution."""


def remember() -> None:
    """Note the versions of everything that is installed; what is not loaded by now is noted anew."""
    for name, found in _installed().items():
        if name not in _known or not _is_loaded(name, *found):
            _known[name] = found


def outdated() -> list[tuple[str, str, str]]:
    """Return name, loaded and installed version of each package that was changed after it had been loaded.

    The installed version is empty for one that was removed. Each change is returned once.
    """
    installed = _installed()
    changes = []
    for name, (folder, version) in list(_known.items()):
        now_in, now = installed.get(name, (folder, ""))
        if now not in (version, _told.get(name)) and _is_loaded(name, now_in, now):
            changes.append((name, version, now))
            _told[name] = now
    remember()
    return changes


def _installed() -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    for folder in dict.fromkeys(sys.path):
        try:
            entries = listdir(folder or ".")
        except OSError:
            continue
        for entry in entries:
            match = _NAME.fullmatch(entry)
            if match is not None:
                found.setdefault(_normalised(match["name"]), (folder, match["version"]))
    return found


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "_", name).lower()


def _is_loaded(name: str, folder: str, version: str) -> bool:
    """Return whether a module of the distribution has been imported: of its own name, or one that its record names."""
    if name in sys.modules:
        return True
    for entry in listdir(folder or "."):
        match = _NAME.fullmatch(entry)
        if match is None or (_normalised(match["name"]), match["version"]) != (name, version):
            continue
        try:
            with open(ospath.join(folder, entry, "top_level.txt"), encoding="utf-8", errors="replace") as lines:
                return any(line.strip() in sys.modules for line in lines)
        except OSError:
            return False
    return False
