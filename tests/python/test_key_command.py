"""``plugincore key``: a new key, the hash of a key, the keys of an ini file."""

from __future__ import annotations

import hashlib
import re
import subprocess
from pathlib import Path

import pytest

from support.plugins import INI, prepare
from support.server import Launch, command
from support.wait import TIMEOUT

PLUGIN = """
    from plugincore.baseplugin import BasePlugin

    class Greet(BasePlugin):
        def request_handler(self, **data):
            return 200, {"key": data["request"].key_name}
"""


def key(folder: Path, *arguments: str, given: str = "") -> tuple[int, str, str]:
    """Run ``plugincore key``; return exit code, output and errors."""
    done = subprocess.run(
        [*command(), "key", *arguments],
        cwd=folder,
        input=given,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_a_new_key_opens_what_its_line_says(launch: Launch, tmp_path: Path) -> None:
    """The line goes into the ini file as it is; the key is printed once, before it."""
    options = ["--name", "monitoring", "--scopes", "greet,control", "--expires", "2901-06-30T12:00:00+02:00"]
    code, output, errors = key(tmp_path, "new", *options)
    new, line = output.splitlines()
    assert (0, True) == (code, "[keys]" in errors)
    assert new not in line + errors
    assert re.fullmatch(r"[\w-]{43}", new)
    assert re.fullmatch(
        r"monitoring = hash=sha256:[0-9a-f]{64}&scopes=greet,control&expires=2901-06-30T12:00:00%2B02:00", line
    )
    server = launch({"greet": PLUGIN}, ini_more=f"[plugin_parms]\ngreet = auth_type=key\n[keys]\n{line}\n")
    assert {"key": "monitoring"} == server.get("/greet", headers={"Authorization": f"Bearer {new}"}).json()
    assert 200 == server.get("/plugins", headers={"X-Custom-Auth": new}).status_code


def test_a_new_key_has_a_name_and_all_plugins_unless_they_are_named(tmp_path: Path) -> None:
    """Two of them are not the same."""
    keys = [key(tmp_path, "new")[1].splitlines() for _ in range(2)]
    assert all(line.startswith("client = hash=sha256:") and line.endswith("&scopes=*") for _, line in keys)
    assert keys[0][0] != keys[1][0]


@pytest.mark.parametrize("given", ["sésame", " sésame \n", "sésame\r\n"])
def test_the_hash_of_a_key_is_read_from_standard_input(tmp_path: Path, given: str) -> None:
    """White space around it is not part of the key, and the key is not repeated."""
    code, output, errors = key(tmp_path, "hash", given=given)
    assert (0, f"hash=sha256:{hashlib.sha256('sésame'.encode()).hexdigest()}\n", "") == (code, output, errors)


@pytest.mark.parametrize("given", ["", " \n"])
def test_nothing_has_no_hash(tmp_path: Path, given: str) -> None:
    """The exit code is 1."""
    code, output, errors = key(tmp_path, "hash", given=given)
    assert (1, "", True) == (code, output, "no key" in errors)


def test_the_keys_of_an_ini_file_are_listed_without_the_keys(tmp_path: Path) -> None:
    """Name, scopes and expiry, in the order of the file; that of `[auth]` comes first."""
    lines = f"a = key=s3cret&scopes=greet,control\nb = hash=sha256:{'0' * 64}&scopes=*&expires=2001-01-01\n"
    more = "c = file=c.key&scopes=/control,metrics&expires=2901-06-30\n[auth]\napikey = s3cret-server\n"
    prepare(tmp_path, {"../c.key": "s3cret-c"}, INI + "[keys]\n" + lines + more)
    code, output, errors = key(tmp_path, "list", "-i", "server.ini")
    assert (0, "") == (code, errors)
    rows = [re.split(r" {2,}", row) for row in output.splitlines()]
    assert [
        ["name", "scopes", "expires"],
        ["default", "*,control", "never"],
        ["a", "greet,control", "never"],
        ["b", "*", "2001-01-01 (expired)"],
        ["c", "/control,metrics", "2901-06-30"],
    ] == rows
    assert "s3cret" not in output
    assert "0000" not in output


def test_a_file_that_cannot_be_used_is_1(tmp_path: Path) -> None:
    """With what is wrong, as for a start."""
    prepare(tmp_path, {}, INI + "[keys]\na = key=s3cret\n")
    code, output, errors = key(tmp_path, "list", "-i", "server.ini")
    assert (1, "") == (code, output)
    assert "server.ini:8: [keys] a: has no scopes" in errors
    assert "s3cret" not in errors


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["list", "-i", "missing.ini"],
        ["new", "--name", "A b"],
        ["new", "--scopes", ","],
        ["new", "--expires", "soon"],
        ["hash", "s3cret"],
        ["old"],
    ],
)
def test_a_wrong_command_line_is_2(tmp_path: Path, arguments: list[str]) -> None:
    """And nothing is printed on standard output."""
    code, output, errors = key(tmp_path, *arguments)
    assert (2, "") == (code, output)
    assert errors
