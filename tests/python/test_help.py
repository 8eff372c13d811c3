"""What the commands say of themselves: help, manual pages, completions, and the nearest name for a slip."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from importlib import metadata
from pathlib import Path

import pytest

from support.server import command
from support.wait import TIMEOUT

PAGES = Path(__file__).parent.parent.parent / "packaging" / "wheel" / "data" / "share" / "man" / "man1"
COMMANDS = ["", *sorted(page.stem.partition("-")[2] for page in PAGES.glob("plugincore-*.1"))]


def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command that ends by itself."""
    return subprocess.run(
        [*command(), *arguments],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


def on_terminal(*arguments: str, **env: str) -> str:
    """Return what a command writes to a terminal."""
    own, terminal = pty.openpty()
    with os.fdopen(own, "rb", buffering=0) as screen:
        variables = {
            "TERM": "xterm",
            **{name: value for name, value in os.environ.items() if name != "NO_COLOR"},
            **env,
        }
        with subprocess.Popen(
            [*command(), *arguments], env=variables, stdin=terminal, stdout=terminal, stderr=terminal
        ):
            os.close(terminal)
            written = b""
            try:
                while piece := screen.read(65536):
                    written += piece
            except OSError:
                pass  # that is how a terminal ends
    return written.decode()


@pytest.mark.parametrize("words", COMMANDS)
def test_help_shows_examples(words: str) -> None:
    """Of each command, on standard output, as code 0."""
    path = words.replace("log-level", "log_level").replace("-", " ").replace("log_level", "log-level").split()
    shown = run(*path, "--help")
    assert (0, "") == (shown.returncode, shown.stderr)
    assert re.search(r"^Examples:\n  plugincore", shown.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("words", "nearest"),
    [
        (["chekc"], "'check'"),
        (["ctl", "stauts"], "'status'"),
        (["--prot", "1"], "'--port'"),
        (["serve", "--pluins", "x"], "'--plugins'"),
        (["check", "--dif"], "'--diff'"),
        (["completions", "bahs"], "'bash'"),
    ],
)
def test_a_slip_gets_the_nearest_name(words: list[str], nearest: str) -> None:
    """On standard error, as code 2."""
    shown = run(*words)
    assert (2, "") == (shown.returncode, shown.stdout)
    assert re.search(f"tip: a similar .* exists: {nearest}", shown.stderr)


def test_only_the_ini_file_is_named_before_a_command(tmp_path: Path) -> None:
    """Of other options, nobody could tell whom they are for."""
    shown = run("--watch", "check")
    assert (2, "") == (shown.returncode, shown.stdout)
    assert "--watch stands before the command check; only -i may stand there" in shown.stderr
    (tmp_path / "a.ini").write_text("[paths]\nplugins = .\n")
    ini = str(tmp_path / "a.ini")
    for words in (["-i", ini, "key", "list"], ["key", "list", "-i", ini], ["-i", "absent", "key", "list", "-i", ini]):
        assert 0 == run(*words).returncode, words


def test_colours_are_for_terminals_alone() -> None:
    """And not for those that set NO_COLOR."""
    assert "\x1b[" in on_terminal("--help")
    assert "\x1b[" in on_terminal("chekc")
    assert "\x1b[" not in on_terminal("--help", NO_COLOR="1")
    assert "\x1b[" not in run("--help").stdout + run("chekc").stderr


@pytest.mark.parametrize("shell", ["bash", "elvish", "fish", "powershell", "zsh"])
def test_completions_name_the_commands(shell: str) -> None:
    """Of every shell that clap knows."""
    script = run("completions", shell)
    assert (0, "") == (script.returncode, script.stderr)
    assert "log-level" in script.stdout
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=script.stdout, text=True, timeout=TIMEOUT, check=True)


def test_the_manual_pages_of_the_package_are_those_of_this_version(tmp_path: Path) -> None:
    """After a change: ``plugincore man packaging/wheel/data/share/man/man1``."""
    assert 0 == run("man", str(tmp_path / "new" / "folder")).returncode
    made = {page.name: page.read_text() for page in (tmp_path / "new" / "folder").iterdir()}
    assert made == {page.name: page.read_text() for page in PAGES.iterdir()}
    installed = {Path(file).name for file in metadata.files("plugincore") or () if "share/man/man1/" in str(file)}
    assert installed == set(made)


def test_a_folder_that_cannot_be_written_is_code_1(tmp_path: Path) -> None:
    """With its name."""
    (tmp_path / "file").touch()
    shown = run("man", str(tmp_path / "file"))
    assert (1, "") == (shown.returncode, shown.stdout)
    assert f"{tmp_path}/file: the pages cannot be written" in shown.stderr
