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
from typing import NamedTuple


class _Installed(NamedTuple):
    """A distribution that is installed."""

    folder: str
    entry: str
    """Its folder with what is known of it, in that folder; empty if it is gone."""
    version: str


_NAME = re.compile(r"(?P<name>.+)-(?P<version>[^-]+)\.dist-info")

_known: dict[str, _Installed] = {}
"""Each distribution as it was when it was first seen or, as long as it is not loaded, is now; by its name."""

_told: dict[str, str] = {}
"""The installed version that was last returned for a distribution."""


def remember() -> None:
    """Note the versions of everything that is installed; what is not loaded by now is noted anew."""
    _remember(_installed())


def _remember(installed: dict[str, _Installed]) -> None:
    for name, found in installed.items():
        known = _known.get(name)
        # Most are as they were, which needs no look into their files.
        if known != found and (known is None or not _is_loaded(name, found)):
            _known[name] = found


def outdated() -> list[tuple[str, str, str]]:
    """Return name, loaded and installed version of each package that was changed after it had been loaded.

    The installed version is empty for one that was removed. Each change is returned once.
    """
    installed = _installed()
    changes = []
    for name, known in list(_known.items()):
        now = installed.get(name, _Installed(known.folder, "", ""))
        if now.version not in (known.version, _told.get(name)) and _is_loaded(name, now):
            changes.append((name, known.version, now.version))
            _told[name] = now.version
    _remember(installed)
    return changes


def _installed() -> dict[str, _Installed]:
    found: dict[str, _Installed] = {}
    for folder in dict.fromkeys(sys.path):
        try:
            entries = listdir(folder or ".")
        except OSError:
            continue
        for entry in entries:
            match = _NAME.fullmatch(entry)
            if match is not None:
                found.setdefault(_normalised(match["name"]), _Installed(folder, entry, match["version"]))
    return found


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "_", name).lower()


def _is_loaded(name: str, installed: _Installed) -> bool:
    """Return whether a module of the distribution has been imported: of its own name, or one that its record names."""
    if name in sys.modules:
        return True
    if not installed.entry:
        return False
    try:
        record = ospath.join(installed.folder, installed.entry, "top_level.txt")
        with open(record, encoding="utf-8", errors="replace") as lines:
            return any(line.strip() in sys.modules for line in lines)
    except OSError:
        return False
