"""What a person reads of the log: on a terminal, and in the output of tests."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

from support.plugins import INI, prepare
from support.terminal import on_terminal

RAISING = """
from plugincore.baseplugin import BasePlugin

class Raising(BasePlugin):
    def initialize(self, **options):
        try:
            raise KeyError("k")
        except KeyError:
            self.log.exception("caught", item=3)
        self.log.warn("two\\nlines\\x1b[2J")
        self.log.info("a line")

    def request_handler(self, **data):
        return 200, {}
"""
TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}"
TRACEBACK = r"""    Traceback \(most recent call last\):
      File ".*/raising\.py", line 7, in initialize
        raise KeyError\("k"\)
    KeyError: 'k'
"""


def test_a_traceback_on_a_terminal_has_its_lines(tmp_path: Path) -> None:
    """They are indented, so that no text looks like a record; what would move the cursor is escaped as ever."""
    prepare(tmp_path, {"raising": RAISING}, INI)
    shown = on_terminal(tmp_path, "-l", "server.log", NO_COLOR="1")
    assert re.search(f"^{TIME} - raising - EXCEPTION - caught item=3\n{TRACEBACK}", shown, re.MULTILINE), shown
    assert re.search(rf"^{TIME} - raising - WARN - two\n    lines\\x1b\[2J\n", shown, re.MULTILINE), shown
    in_file = (tmp_path / "server.log").read_text()
    assert re.search(rf"caught item=3\\nTraceback .*\\nKeyError: 'k'\n{TIME}.* WARN - two\\nlines\\x1b", in_file), (
        in_file
    )


def test_what_is_grave_has_a_colour_on_a_terminal(tmp_path: Path) -> None:
    """Warnings are yellow, errors and their tracebacks red; ``NO_COLOR`` and a terminal without colours are obeyed."""
    prepare(tmp_path, {"raising": RAISING}, INI)
    shown = on_terminal(tmp_path)
    assert " - raising - \x1b[31mEXCEPTION\x1b[0m - caught item=3\n    \x1b[31mTraceback" in shown, shown
    assert "\n    \x1b[31mKeyError: 'k'\x1b[0m\n" in shown
    assert " - raising - \x1b[33mWARN\x1b[0m - two\n" in shown
    assert " - raising - INFO - a line\n" in shown
    assert "\x1b[3" not in on_terminal(tmp_path, TERM="dumb")


def test_json_stays_json_on_a_terminal(tmp_path: Path) -> None:
    """One object for each line."""
    prepare(tmp_path, {"raising": RAISING}, INI + "[log]\nformat = json\n")
    shown = on_terminal(tmp_path)
    assert re.search(r'^\{"time".*"message":"caught","item":3,"exception":"Traceback.*\}$', shown, re.MULTILINE), shown


def test_a_traceback_in_the_output_of_a_test_has_its_lines(tmp_path: Path) -> None:
    """And no priorities, which are for journals."""
    (tmp_path / "raising.py").write_text(RAISING)
    (tmp_path / "test_raising.py").write_text(
        textwrap.dedent(
            """
            def test_it(plugin_client):
                plugin_client("raising.py").get()
                assert False
            """
        )
    )
    command = [sys.executable, "-m", "pytest", "-p", "plugincore.testing_pytest", "-q", "."]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=50)
    assert re.search(f"^{TIME} - raising - EXCEPTION - caught item=3\n{TRACEBACK}", ended.stdout, re.MULTILINE), ended
