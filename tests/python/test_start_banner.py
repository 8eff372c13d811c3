"""What a person sees of a start: a few lines on a terminal, the same facts in the log otherwise."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from support.plugins import INI, prepare
from support.server import Launch
from support.terminal import on_terminal

GREET = """
from plugincore.baseplugin import BasePlugin

class Greet(BasePlugin):
    def request_handler(self, **data):
        return 200, "ok"
"""
BROKEN = "\n\nraise RuntimeError\n"
PYTHON = re.escape(".".join(map(str, sys.version_info[:3])))


def test_the_log_has_versions_first_and_what_serves_last(launch: Launch) -> None:
    """With the files that could not be loaded, so that they need not be searched for."""
    keys = "[auth]\napikey = k\n[keys]\nada = key=a&scopes=*\n"
    server = launch({"greet": GREET, "broken": BROKEN}, ini_more=keys)
    server.wait_for(rf"INFO - plugincore - plugincore \d+\.\d+\.\d+, Python {PYTHON}")
    line = server.wait_for("INFO - plugincore - Started: ")
    address = re.escape(server.base_url)
    assert re.search(rf"Started: 1 plugin, 1 failed: plugins/broken\.py:3; keys: 2; {address}/-/$", line)
    assert 0 == server.stop()


def test_without_keys_the_log_says_so(launch: Launch) -> None:
    """And what is disabled is no failure."""
    server = launch({"greet": GREET, "other": GREET.replace("Greet", "Other")}, args=["--safe"])
    assert "Started: 0 plugins, 2 disabled; keys: none; " in server.wait_for("Started: ")


def test_a_terminal_shows_a_banner(tmp_path: Path) -> None:
    """Versions, the address, plugins, keys."""
    prepare(tmp_path, {"greet": GREET, "other": GREET.replace("Greet", "Other"), "broken": BROKEN}, INI)
    shown = on_terminal(tmp_path, NO_COLOR="1")
    banner = (
        # The log has a writer of its own, so lines of it may come before this or after it.
        rf"(?:^|\n)\n  plugincore \d+\.\d+\.\d+, Python {PYTHON}\n  http://127\.0\.0\.1:\d+/-/\n"
        r"  2 plugins, 1 failed: plugins/broken\.py:3\n  keys: none\n\n"
    )
    assert re.search(banner, shown), shown
    assert "\x1b[" not in shown
    assert "\x1b[1mplugincore " in on_terminal(tmp_path)


def test_a_higher_level_hides_the_banner(tmp_path: Path) -> None:
    """As it hides the lines of the log."""
    prepare(tmp_path, {"greet": GREET + "\n    def initialize(self, **_):\n        self.log.error('said so')\n"}, INI)
    shown = on_terminal(tmp_path, "-v", "ERROR")
    assert "said so" in shown
    assert "Python" not in shown


def test_the_loading_of_many_plugins_shows_how_far_it_is(tmp_path: Path) -> None:
    """On a terminal alone."""
    plugins = {f"greet{number}": GREET.replace("Greet", f"Greet{number}") for number in range(25)}
    prepare(tmp_path, plugins, INI)
    shown = on_terminal(tmp_path)
    assert [f"loading: {number} of 25" for number in range(25)] == re.findall(r"loading: \d+ of 25", shown)
    assert re.search(r"\n  25 plugins\n", shown)


def test_no_progress_is_written_to_a_pipe(launch: Launch) -> None:
    """Nor a banner."""
    server = launch({f"greet{number}": GREET.replace("Greet", f"Greet{number}") for number in range(25)})
    assert 0 == server.stop()
    assert "loading: " not in server.log
    assert "\x1b" not in server.log
    assert not [line for line in server.lines if line.startswith("  ")]
