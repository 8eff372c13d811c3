"""Plugins and settings on the disk: sources become the files of a server's folder."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path

#: An ini file that is enough. With port 0 the system chooses a port that no other process has.
INI = """\
[network]
bindto = 127.0.0.1
port = 0

[paths]
plugins = plugins
"""


def write_plugins(folder: Path, plugins: Mapping[str, str]) -> None:
    """Write plugin files into ``folder``/plugins: their names without ``.py``, unless they have another ending."""
    (folder / "plugins").mkdir(parents=True, exist_ok=True)
    for name, source in plugins.items():
        file = folder / "plugins" / (name if "." in name else f"{name}.py")
        file.write_text(textwrap.dedent(source))


def prepare(folder: Path, plugins: Mapping[str, str], ini: str | None) -> None:
    """Write plugin files and, unless it is None, the ini file."""
    write_plugins(folder, plugins)
    if ini is not None:
        (folder / "server.ini").write_text(textwrap.dedent(ini))
