"""The plugins and the ini file that the repository ships: what `make serve` serves."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from environments import without_psutil
from support.server import Launch, Server, command
from support.wait import wait_until

PROJECT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an interpreter that has plugincore but no psutil."""
    return without_psutil(tmp_path_factory.mktemp("bare") / "venv")


@pytest.fixture(params=["real psutil", "stand-in"])
def shipped(launch: Launch, tmp_path: Path, request: pytest.FixtureRequest, bare_python: Path) -> Server:
    """Serve a copy of the repository's `plugins/` with its plugincore.ini, on a port of its own."""
    program = command() if request.param == "real psutil" else [str(bare_python), "-m", "plugincore"]
    folder = tmp_path / "shipped"
    shutil.copytree(PROJECT / "plugins", folder / "plugins", ignore=shutil.ignore_patterns("__pycache__"))
    ini = (PROJECT / "plugincore.ini").read_text()
    assert "\nport = 9192\n" in ini
    ini = ini.replace("\nport = 9192\n", "\nport = 0\n") + "\n[plugin_parms]\nnetrates = interval=0.1\n"
    assert ini.count("[plugin_parms]") == 2
    ini = ini.replace("[plugin_parms]\n", "", 1)
    return launch(folder=folder, ini=ini, program=program, scheme="http")  # its [SSL] is not enabled


def test_all_of_them_load_without_a_complaint(shipped: Server) -> None:
    """The start shows each endpoint's URL and nothing to worry about."""
    assert {"loaded_plugins": ["hello", "netrates", "pages", "sessman", "systeminfo"]} == shipped.get("/plugins").json()
    for plugin in ("hello", "netrates", "pages", "sessman", "systeminfo"):
        assert shipped.wait_for(rf"Serving {shipped.base_url}/{plugin}  \[")
    assert 0 == shipped.stop()
    assert not [line for line in shipped.lines if " - ERROR - " in line or " - WARN - " in line]


def test_hello_greets(shipped: Server) -> None:
    """The smallest plugin answers with a JSON object."""
    assert {"message": "Hello, world!"} == shipped.get("/hello").json()
    assert {"message": "Hello, Ada!"} == shipped.get("/hello", params={"name": "Ada"}).json()
    assert {"message": "Hello, Bob!"} == shipped.post("/hello", json={"name": "Bob"}).json()


def test_netrates_measures_in_the_background(shipped: Server) -> None:
    """Rates of every interface appear, of one by its name; an unknown one is 404 with the known names."""
    wait_until(lambda: shipped.get("/netrates").json()["interfaces"], "nothing is measured")
    answer = shipped.get("/netrates").json()
    assert ("bytes/s", 0.1) == (answer["unit"], answer["interval"])
    names = sorted(answer["interfaces"])
    assert {name for _, name in socket.if_nameindex()} >= set(names)
    one = shipped.get(f"/netrates/{names[0]}").json()
    assert {"tx", "rx"} == set(one)
    assert all(isinstance(rate, int) and rate >= 0 for rate in one.values())
    unknown = shipped.get("/netrates/none0")
    assert (404, names) == (unknown.status_code, unknown.json()["interfaces"])


def test_systeminfo_tells_the_state_of_the_machine(shipped: Server) -> None:
    """Each section is there, alone and together; an unknown one is 404 with the known names."""
    whole = shipped.get("/systeminfo").json()
    sections = ["cpu", "memory", "disks", "network", "uptime"]
    assert sections == list(whole)
    assert whole["cpu"]["logical"] >= 1
    assert 3 == len(whole["cpu"]["load"])
    assert 0 < whole["memory"]["ram"]["available"] <= whole["memory"]["ram"]["total"]
    assert whole["uptime"]["boot_time"] < time.time()
    assert any("127.0.0.1" in interface["addresses"] for interface in whole["network"].values())
    for section in sections:
        alone = shipped.get(f"/systeminfo/{section}").json()
        assert type(whole[section]) is type(alone)
        assert len(whole[section]) == len(alone)
    unknown = shipped.get("/systeminfo/weather")
    assert (404, sections) == (unknown.status_code, unknown.json()["sections"])


def test_a_reload_and_a_stop_end_the_background_task(shipped: Server) -> None:
    """Nothing complains about a pending or cancelled task."""
    assert {"reloaded": "netrates", "success": True} == shipped.get("/reload/netrates").json()
    assert 200 == shipped.get("/netrates").status_code
    assert 0 == shipped.stop()
    assert "task" not in shipped.log.lower()


def test_their_types_are_right() -> None:
    """They show how a plugin is written, so a strict type checker has no complaint."""
    with tempfile.TemporaryDirectory() as cache:
        options = ["--strict", "--cache-dir", cache]
        files = sorted(map(str, (PROJECT / "plugins").glob("*.py")))
        mypy = subprocess.run(
            [sys.executable, "-m", "mypy", *options, *files], capture_output=True, text=True, check=False
        )
    assert 0 == mypy.returncode, mypy.stdout
