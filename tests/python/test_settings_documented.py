"""docs/configuration.md has every key that the server knows, with its default and its effect."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
SCHEMA = (ROOT / "src/edge/config/schema.rs").read_text()
PAGE = (ROOT / "docs/configuration.md").read_text()


def schema() -> dict[str, list[str]]:
    """Return the keys of each section of the server."""
    listed = SCHEMA.partition("HOST_SECTIONS")[2].partition("\n];")[0]
    found = re.findall(r'\(\s*"([^"]+)",\s*&\[([^]]*)\],?\s*\)', listed)
    sections = {section: re.findall(r'"([^"]+)"', keys) for section, keys in found}
    of_plugins = re.search(r"PLUGIN_KEYS: &\[&str\] = &\[([^]]*)\]", SCHEMA)
    assert of_plugins
    return {**sections, "plugin <name>": re.findall(r'"([^"]+)"', of_plugins[1])}


def described(section: str) -> str:
    """Return what the page says of a section."""
    return PAGE.partition(f"### `[{section}]`\n")[2].partition("\n### ")[0].partition("\n## ")[0]


def rows(text: str) -> dict[str, tuple[str, str]]:
    """Return default and meaning of each key in the table of a section."""
    found = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == 3:
            found.update(dict.fromkeys(re.findall(r"`([^`]+)`", cells[0]), (cells[1], cells[2])))
    return found


@pytest.mark.parametrize("section", schema())
def test_every_key_is_described(section: str) -> None:
    """In the table of its section; a name that another key has replaced at least beside it."""
    text, keys = described(section), schema()[section]
    assert text, f"docs/configuration.md has no section on [{section}]"
    table = rows(text)
    earlier = set(re.findall(r"`(\w+)`", text.rpartition("|\n")[2]))
    assert [] == [key for key in keys if key not in table and key not in earlier]
    assert [] == [key for key in keys if key in table and not all(table[key]) and not key.endswith("_css")]


def test_no_key_is_described_that_does_not_exist() -> None:
    """A table does not outlive its key."""
    for section, keys in schema().items():
        assert [] == [key for key in rows(described(section)) if keys and key not in keys], section
