"""``plugincore init`` and ``plugincore new``: what they write runs as it is, and overwrites nothing."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from websockets.sync.client import connect

from support.server import Server, command
from support.wait import TIMEOUT

FEATURES = [
    words
    for count in range(4)
    for words in itertools.combinations(("--auth", "--background", "--websocket", "--typed"), count)
    if not {"--websocket", "--typed"} <= set(words)
]
PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "plugincore.testing_pytest", "-W", "error"]


def run(folder: Path, words: Sequence[str]) -> tuple[int, str, str]:
    """Run ``plugincore`` with these words; return exit code, output and errors."""
    done = subprocess.run(
        [*command(), *words], cwd=folder, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    return done.returncode, done.stdout, done.stderr


def passes(folder: Path, *files: str) -> None:
    """Run the tests that a project has, as its owner does."""
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    subprocess.run([*PYTEST, *files], cwd=folder, env=environment, timeout=TIMEOUT, check=True, capture_output=True)


def serve(folder: Path, *words: str) -> Server:
    """Serve a project with the command that ``init`` prints, but at a free port."""
    return Server([*command(), "serve", "--watch", *words, "--port", "0"], folder, {}).ready()


def test_a_new_project_is_served_and_tested_without_another_step(tmp_path: Path) -> None:
    """All files that it has are named, and the two commands that come next."""
    code, output, errors = run(tmp_path, ["init", "shop"])
    assert (0, "") == (code, errors)
    shop = tmp_path / "shop"
    written = {str(file.relative_to(tmp_path)) for file in shop.rglob("*") if file.is_file()}
    assert {
        "shop/plugincore.ini",
        "shop/plugins/hello.py",
        "shop/tests/test_hello.py",
        "shop/plugincore-shop.service",
        "shop/.gitignore",
    } == written
    assert written == {line.removeprefix("created ") for line in output.splitlines() if line.startswith("created ")}
    assert "start it: cd shop && plugincore serve --watch" in output
    passes(shop)
    assert 0 == run(shop, ["check"])[0]
    with serve(shop) as server:
        assert {"message": "Hello, Ada!"} == server.get("/hello?name=Ada").json()
        assert 0 == server.stop()
    assert not [line for line in server.lines if re.search(r" - (WARN|ERROR|CRITICAL) - ", line)]


def test_the_unit_of_a_project_starts_it(tmp_path: Path) -> None:
    """By the program that has written it, wherever that is called from."""
    assert 0 == run(tmp_path, ["init", "my shop"])[0]
    unit = (tmp_path / "my shop" / "plugincore-my-shop.service").read_text()
    start = re.search("^ExecStart=(.*)$", unit, re.MULTILINE)
    assert start
    assert f"\nWorkingDirectory={tmp_path}/my shop\n" in unit
    assert "\nStateDirectory=plugincore-my-shop\n" in unit
    with Server(["sh", "-c", f"exec {start[1]} --port 0"], tmp_path / "my shop", {}).ready() as server:
        assert 200 == server.get("/hello").status_code
        assert 0 == server.stop()


def test_nothing_that_exists_is_overwritten(tmp_path: Path) -> None:
    """If one file is there, none is written."""
    (tmp_path / "shop" / "plugins").mkdir(parents=True)
    (tmp_path / "shop" / "plugins" / "hello.py").write_text("mine")
    code, output, errors = run(tmp_path, ["init", "shop"])
    assert (1, "", "shop/plugins/hello.py exists; nothing was written\n") == (code, output, errors)
    assert ["plugins"] == [file.name for file in (tmp_path / "shop").iterdir()]
    assert "mine" == (tmp_path / "shop" / "plugins" / "hello.py").read_text()
    assert 0 == run(tmp_path, ["init", "other"])[0]
    other = tmp_path / "other"
    before = {file: file.read_bytes() for file in other.rglob("*") if file.is_file()}
    (other / "tests" / "test_lamp.py").symlink_to("nowhere")
    code, _, errors = run(other, ["new", "lamp"])
    assert (1, "tests/test_lamp.py exists; nothing was written\n") == (code, errors)
    assert before == {file: file.read_bytes() for file in other.rglob("*") if file.is_file()}


@pytest.mark.parametrize("features", FEATURES, ids=lambda words: "".join(words) or "plain")
def test_every_kind_of_plugin_passes_its_test_and_is_served(tmp_path: Path, features: Sequence[str]) -> None:
    """With its line of the ini file, and with the key that was made for it, if it asks for one."""
    assert 0 == run(tmp_path, ["init", "."])[0]
    code, output, errors = run(tmp_path, ["new", "my_lamp", *features])
    assert (0, "") == (code, errors)
    assert {"created plugins/my_lamp.py", "created tests/test_my_lamp.py", "added my_lamp to plugincore.ini"} <= set(
        output.splitlines()
    )
    key = re.search(r"its key, which is not shown again: (\S+)", output)
    assert ("--auth" in features) == bool(key)
    headers = {"Authorization": f"Bearer {key[1]}"} if key else {}
    passes(tmp_path, "tests/test_my_lamp.py")
    with serve(tmp_path) as server:
        if key:
            assert 403 == server.get("/my_lamp").status_code
        if "--websocket" in features:
            address = server.base_url.replace("http", "ws") + "/my_lamp"
            with connect(address, additional_headers=headers, open_timeout=TIMEOUT, proxy=None) as socket:
                assert "Hello!" == socket.recv(TIMEOUT)
                socket.send("to all")
                assert "to all" == socket.recv(TIMEOUT)
                if "--background" in features:
                    assert "tick" == socket.recv(TIMEOUT)
        else:
            answer = server.get("/my_lamp?name=Ada", headers=headers).json()
            assert "Hello, Ada!" == answer.pop("message")
            assert "plain" == answer.pop("style", "plain")
            assert (["ticks"] if "--background" in features else []) == list(answer)
        assert 0 == server.stop()
    complaints = [line for line in server.lines if re.search(r" - (WARN|ERROR|CRITICAL) - ", line)]
    assert not [line for line in complaints if "Not authorized" not in line]


def test_what_is_written_is_formatted_and_typed(tmp_path: Path) -> None:
    """As ruff and mypy's strict mode want it."""
    assert 0 == run(tmp_path, ["init", "."])[0]
    for number, features in enumerate(FEATURES):
        assert 0 == run(tmp_path, ["new", f"plugin{number}", *features])[0]
    rules = "A,ANN,ASYNC,B,D,E,F,I,N,PT,RET,RUF,SIM,UP,W"
    for words in (
        ["ruff", "format", "--isolated", "--line-length=120", "--check", "."],
        [
            "ruff",
            "check",
            "--isolated",
            "--no-cache",
            "--line-length=120",
            f"--select={rules}",
            "--ignore=ANN401,D203,D213",
            ".",
        ],
        ["mypy", "--strict", "--no-incremental", "plugins", "tests"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", *words], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert 0 == done.returncode, done.stdout


def test_the_ini_file_keeps_its_comments_and_permissions(tmp_path: Path) -> None:
    """A line is added, nothing else changes; a link stays one."""
    assert 0 == run(tmp_path, ["init", "."])[0]
    ini = tmp_path / "plugincore.ini"
    before = ini.read_text()
    ini.rename(tmp_path / "real.ini")
    ini.symlink_to("real.ini")
    ini.chmod(0o600)
    assert 0 == run(tmp_path, ["new", "lamp"])[0]
    after = ini.read_text().splitlines()
    assert (True, 0o600) == (ini.is_symlink(), ini.stat().st_mode & 0o777)
    assert ["lamp = greeting=Hello"] == [line for line in after if line not in before.splitlines()]
    assert before.splitlines() == [line for line in after if line != "lamp = greeting=Hello"]
    (tmp_path / "plugins" / "lamp.py").unlink()
    (tmp_path / "tests" / "test_lamp.py").unlink()
    code, output, _ = run(tmp_path, ["new", "lamp"])
    assert (0, True) == (code, "plugincore.ini has lines for lamp already" in output)
    assert after == ini.read_text().splitlines()


def test_the_ini_file_names_the_folder_of_plugins(tmp_path: Path) -> None:
    """The test finds the plugin there; it is in a folder beside the ini file."""
    (tmp_path / "site" / "code").mkdir(parents=True)
    (tmp_path / "site" / "own.ini").write_text("[paths]\nplugins = code\n")
    code, output, _ = run(tmp_path, ["new", "lamp", "-i", "site/own.ini"])
    assert (0, True) == (code, "created site/code/lamp.py" in output)
    passes(tmp_path / "site", "tests/test_lamp.py")
    (tmp_path / "away").mkdir()
    (tmp_path / "site" / "own.ini").write_text(f"[paths]\nplugins = {tmp_path}/away\n")
    assert 0 == run(tmp_path, ["-i", "site/own.ini", "new", "door"])[0]
    passes(tmp_path / "site", "tests/test_door.py")


def test_without_an_ini_file_the_folder_plugins_is_enough(tmp_path: Path) -> None:
    """But not for a plugin that asks for a key."""
    code, _, errors = run(tmp_path, ["new", "lamp"])
    assert (2, True) == (code, "or run: plugincore init ." in errors)
    (tmp_path / "plugins").mkdir()
    assert 0 == run(tmp_path, ["new", "lamp"])[0]
    passes(tmp_path)
    code, output, errors = run(tmp_path, ["new", "door", "--auth"])
    assert (1, "", True) == (code, output, "--auth needs an ini file" in errors)
    assert not (tmp_path / "plugins" / "door.py").exists()


def test_a_websocket_returns_nothing_that_could_be_typed(tmp_path: Path) -> None:
    """So the two options exclude each other, as code 2."""
    (tmp_path / "plugins").mkdir()
    code, output, errors = run(tmp_path, ["new", "lamp", "--websocket", "--typed"])
    assert (2, "", True) == (code, output, "cannot be used with" in errors)


@pytest.mark.parametrize("name", ["Lamp", "my-lamp", "../lamp", "", "plugins", "reload", "none", "lämp", "1st"])
def test_a_name_that_no_plugin_can_have_is_refused(tmp_path: Path, name: str) -> None:
    """As code 2."""
    (tmp_path / "plugins").mkdir()
    code, output, errors = run(tmp_path, ["new", name])
    assert (2, "", True) == (code, output, "invalid value" in errors or "required" in errors)
    assert ["plugins"] == [file.name for file in tmp_path.iterdir()]


def test_a_broken_ini_file_is_reported_and_left_alone(tmp_path: Path) -> None:
    """With its errors."""
    (tmp_path / "plugincore.ini").write_text("[network]\nport = many\n[paths]\nplugins = .\n")
    code, output, errors = run(tmp_path, ["new", "lamp"])
    assert (1, "") == (code, output)
    assert "plugincore.ini:2: [network] port" in errors
    assert ["plugincore.ini"] == [file.name for file in tmp_path.iterdir()]
