"""The two examples of the plugin documentation, unchanged: a typing error in the first, psutil in the second."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path

import pytest

from environments import without_psutil
from support.server import Launch, Server, command
from support.wait import wait_until

EXAMPLES = Path(__file__).parent.parent / "plugins"


def example(name: str) -> dict[str, str]:
    """Return one example as a plugin folder."""
    return {name: (EXAMPLES / f"{name}.py").read_text()}


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an interpreter that has plugincore but no psutil."""
    return without_psutil(tmp_path_factory.mktemp("bare") / "venv")


def test_the_simple_example_loads_and_its_misprint_is_told(launch: Launch) -> None:
    """`request_hanlder` is reported with the name that was probably meant, in the log and in a 500."""
    hint = "request_hanlder in class Example is probably meant to be request_handler"
    server = launch(example("example"))
    line = server.wait_for("has no request_handler")
    assert "example.py: class Example has no request_handler" in line
    assert hint in line
    assert {"loaded_plugins": ["example"]} == server.get("/plugins").json()
    answer = server.get("/example")
    assert 500 == answer.status_code
    assert hint in answer.json()["error"]
    assert 0 == server.stop()


def rates(server: Server) -> list[dict[str, str]]:
    """Request them until an interface with counters has been measured."""

    def measured() -> list[dict[str, str]]:
        answer = server.get("/netinfo")
        assert 200 == answer.status_code, answer.text
        interfaces: list[dict[str, str]] = answer.json()
        return interfaces if any(interface["tx"] != "n/a" for interface in interfaces) else []

    return wait_until(measured, lambda: f"no rates\n{server.log}", interval=0.1)


@pytest.mark.parametrize("psutil", ["real", "stand-in"])
def test_the_complex_example_measures_in_the_background(launch: Launch, psutil: str, bare_python: Path) -> None:
    """Addresses at once, rates after its interval, with psutil and without, and a clean end of its tasks."""
    tell = "import psutil\nfrom plugincore.baseplugin import BasePlugin\nprint('psutil is', psutil.__name__)\n"
    program = command() if psutil == "real" else [str(bare_python), "-m", "plugincore"]
    server = launch({**example("netinfo"), "tell": tell}, program=program)
    server.wait_for("psutil is psutil" if psutil == "real" else r"psutil is plugincore\.sysinfo")
    first = server.get("/netinfo").json()
    assert {("n/a", "n/a")} == {(interface["tx"], interface["rx"]) for interface in first}
    loopback = [interface for interface in first if interface["address"] == "127.0.0.1/8"]
    assert 1 == len(loopback)
    for interface in rates(server):
        ipaddress.IPv4Interface(interface["address"])
        if interface["iface"] == loopback[0]["iface"]:
            assert re.fullmatch(r"[\d.]+(b|kb|mb)ps", interface["tx"])
            assert re.fullmatch(r"[\d.]+(b|kb|mb)ps", interface["rx"])
    assert 0 == server.stop()
    assert "Traceback" not in server.log
    assert " - ERROR - " not in server.log
