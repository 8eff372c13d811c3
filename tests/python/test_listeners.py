"""`[network] listen`: several addresses at once, at the start and by a reload."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import httpx
import pytest

from support.plugins import prepare
from support.server import Launch, Server, command
from support.wait import TIMEOUT, wait_until

PLUGIN = """
    from plugincore.baseplugin import BasePlugin

    class Plugin(BasePlugin):
        def request_handler(self, **data):
            return 200, "ok"
"""


def ini(listen: str, more: str = "") -> str:
    """Return an ini file for these addresses."""
    return f"[network]\nlisten = {listen}\n{more}\n[paths]\nplugins = plugins\n"


def addresses(server: Server, count: int) -> list[str]:
    """Wait until a server has said of so many addresses that it serves there; return them."""

    def found() -> list[str]:
        return re.findall(r"(?:Server started|Listening) on (\S+)(?: as well)?$", server.log, re.MULTILINE)

    wait_until(lambda: count == len(found()), lambda: server.log)
    return found()


def answers(address: str) -> bool:
    """Whether a request to an address is answered."""
    with httpx.Client(timeout=TIMEOUT, trust_env=False) as client:
        try:
            return "ok" == client.get(f"http://{address}/plugin").text
        except httpx.ConnectError:
            return False


def reload_with(server: Server, text: str) -> httpx.Response:
    """Replace the ini file of a server, and have it read."""
    (server.folder / "server.ini").write_text(text)
    return server.get("/reload/all")


def test_all_addresses_are_served(launch: Launch) -> None:
    """Those of `listen` alone; with `bindto` or `port`, theirs too."""
    server = launch({"plugin": PLUGIN}, ini=ini("list:127.0.0.1:0 127.0.0.2:0"))
    served = addresses(server, 2)
    assert ["127.0.0.1", "127.0.0.2"] == [address.partition(":")[0] for address in served]
    assert all(answers(address) for address in served)
    server = launch({"plugin": PLUGIN}, ini=ini("127.0.0.2:0", "port = 0"))
    served = addresses(server, 2)
    assert ["127.0.0.1", "127.0.0.2"] == [address.partition(":")[0] for address in served]
    assert all(answers(address) for address in served)


def test_status_and_banner_show_every_address(launch: Launch) -> None:
    """Also after a reload has changed them."""
    server = launch({"plugin": PLUGIN}, ini=ini("127.0.0.1:0 127.0.0.2:0"))
    served = addresses(server, 2)
    assert served == server.get("/-/api/status").json()["listening"]
    assert 200 == reload_with(server, ini("127.0.0.1:0")).status_code
    assert served[:1] == server.get("/-/api/status").json()["listening"]


def test_a_reload_changes_addresses_while_the_server_runs(launch: Launch) -> None:
    """One that stays keeps its port; a new one is served before one that is not named any more is closed."""
    server = launch({"plugin": PLUGIN}, ini=ini("127.0.0.1:0 127.0.0.2:0"))
    first, second = addresses(server, 2)
    assert 200 == reload_with(server, ini("127.0.0.1:0 127.0.0.3:0")).status_code
    third = addresses(server, 3)[2]
    assert third.startswith("127.0.0.3:")
    assert answers(first)
    assert answers(third)
    wait_until(lambda: not answers(second))


def test_an_address_that_cannot_be_had_refuses_the_whole_reload(launch: Launch) -> None:
    """The reason has its line, and nothing has changed."""
    server = launch({"plugin": PLUGIN}, ini=ini("127.0.0.1:0"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        answer = reload_with(server, ini(f"127.0.0.1:0 127.0.0.2:0 127.0.0.1:{port}"))
    assert 500 == answer.status_code
    (reason,) = answer.json()["reasons"]
    assert reason.startswith(f"server.ini:2: [network] listen: cannot listen on 127.0.0.1:{port}: ")
    assert "Listening on" not in server.log
    assert answers(f"127.0.0.1:{server.port}")


@pytest.mark.parametrize(
    ("listen", "expected"),
    [
        ("localhost", '"localhost" is no address with a port'),
        ("127.0.0.1:99999", '"127.0.0.1:99999" has no port'),
        ("127.0.0.1:8080 127.0.0.1:8080", "127.0.0.1:8080 is there twice"),
        ("*:8080 127.0.0.1:8080", "127.0.0.1:8080 and 0.0.0.0:8080 cannot be had at the same time"),
        ("list:", "names no address"),
    ],
)
def test_a_wrong_entry_is_refused_with_its_line(launch: Launch, tmp_path: Path, listen: str, expected: str) -> None:
    """At the start with exit code 2; at a reload nothing changes."""
    prepare(tmp_path / "wrong", {"plugin": PLUGIN}, ini(listen))
    with Server([*command(), "-i", "server.ini"], tmp_path / "wrong", {}) as refused:
        assert 2 == refused.wait(), refused.log
    assert f"server.ini:2: [network] listen: {expected}" in refused.log
    server = launch({"plugin": PLUGIN}, ini=ini("127.0.0.1:0"))
    answer = reload_with(server, ini(listen))
    assert 500 == answer.status_code
    assert f"server.ini:2: [network] listen: {expected}" in answer.json()["reasons"][0]
    assert answers(f"127.0.0.1:{server.port}")
