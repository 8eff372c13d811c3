"""Lines that clients cause again and again are summed up; a plugin's own lines never are."""

from __future__ import annotations

import re
import time

import pytest

from support.ports import wait_for_port
from support.server import Launch, Server

KEYS = "[plugin_parms]\nshop = auth_type=plugin&apikey=k\n"
SHOP = """
    from plugincore.baseplugin import BasePlugin

    class Shop(BasePlugin):
        async def request_handler(self, **data):
            match data["subpath"]:
                case "key":
                    raise KeyError(data["name"])
                case "value":
                    raise ValueError(data["name"])
                case "set":
                    return 200, {"names": object()}
            for number in range(50):
                self.log("own", number)
            return 200, {}
"""


def summed(server: Server, what: str) -> int:
    """Return how many lines the sums of one kind stand for."""
    sums = [re.search(rf"{what}: (\d+) more in the last \d+ s$", line) for line in server.lines]
    return sum(int(match[1]) for match in sums if match)


def count(server: Server, pattern: str) -> int:
    """Return the number of lines that match."""
    return sum(re.search(pattern, line) is not None for line in server.lines)


def test_refusals_are_written_ten_times_a_minute_and_client_and_then_summed_up(launch: Launch) -> None:
    """Each client has its own ten lines; what was not written at the end is summed up at the end."""
    server = launch({"shop": SHOP}, ini_more=f"[server]\ntrusted_proxies = 127.0.0.1\n{KEYS}", args=["-v", "INFO"])
    for client in ("192.0.2.1", "2001:db8::1"):
        for _ in range(42):
            assert 403 == server.get("/shop", headers={"X-Forwarded-For": client}).status_code
    # Another address of the same network is not another client.
    assert 403 == server.get("/shop", headers={"X-Forwarded-For": "2001:db8::2"}).status_code
    assert 0 == server.stop()
    assert 10 == count(server, r"WARN - plugincore - 192\.0\.2\.1 - request for shop - Not authorized$")
    assert 10 == count(server, r"WARN - plugincore - 2001:db8::\d - request for shop - Not authorized$")
    assert 32 == summed(server, r"WARN - plugincore - 192\.0\.2\.1 - Not authorized")
    assert 33 == summed(server, r"WARN - plugincore - 2001:db8::/64 - Not authorized")


def test_sums_are_written_while_the_flood_goes_on(launch: Launch) -> None:
    """A flood is seen within some ten seconds, not only when it ends."""
    server = launch({"shop": SHOP}, ini_more=KEYS)
    begun = time.monotonic()
    for _ in range(20):
        server.get("/shop")
    server.wait_for(r"127\.0\.0\.1 - Not authorized: 10 more in the last 10 s$")
    assert 9 < time.monotonic() - begun < 20


def test_the_same_exception_again_is_summed_up_and_another_one_is_written(launch: Launch) -> None:
    """Exceptions are told apart by plugin, type and line, so that one does not hide the others."""
    server = launch({"shop": SHOP})
    for number in range(15):
        assert 500 == server.get(f"/shop/key?name={number}").status_code
    assert 500 == server.get("/shop/value?name=1").status_code
    for number in range(15):
        assert 500 == server.get(f"/shop/set?name={number}").status_code
    assert 0 == server.stop()
    assert (10, 1) == (count(server, r"\\nKeyError: '\d+'\\n$"), count(server, r"\\nValueError: 1\\n$"))
    assert 5 == summed(server, r"ERROR - plugincore - plugin shop: KeyError at line \d+")
    assert 10 == count(server, "the handler's result cannot be sent: ")
    assert 5 == summed(server, "ERROR - plugincore - plugin shop: results of the handler cannot be sent")


def test_a_plugins_own_lines_are_never_summed_up(launch: Launch) -> None:
    """What a plugin logs is written, however often."""
    server = launch({"shop": SHOP})
    assert 200 == server.get("/shop").status_code
    assert 0 == server.stop()
    lines = [line for line in server.lines_without_ids if " own " in line]
    assert [f"<6> - INFO - shop - own {number}" for number in range(50)] == lines


@pytest.mark.parametrize("level", ["ERROR", "CRITICAL"])
def test_lines_below_the_level_are_not_summed_up(launch: Launch, level: str) -> None:
    """What would not be written is no number either."""
    server = launch({"shop": SHOP}, ini_more=KEYS, args=["-v", level], ready=False)
    server.base_url = f"http://127.0.0.1:{wait_for_port(server.pid)}"
    for _ in range(20):
        server.get("/shop")
    assert 0 == server.stop()
    assert 0 == count(server, "Not authorized")
