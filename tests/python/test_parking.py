"""`park_after`: a plugin that fails again and again is left alone for a while, natively."""

from __future__ import annotations

import time

import pytest

from support.server import Launch, Server
from support.wait import wait_until

FRAGILE = """
    import time
    from pathlib import Path
    from plugincore.baseplugin import BasePlugin

    class Fragile(BasePlugin):
        calls = 0

        async def request_handler(self, **data):
            type(self).calls += 1
            match data["subpath"]:
                case "raise":
                    raise RuntimeError("broken")
                case "504":
                    return 504, {}
                case "503":
                    return 503, {}
                case "stall":
                    time.sleep(0.6)
            if Path("broken").exists():
                raise RuntimeError("broken")
            return 200, {"calls": self.calls}
"""
PARK = "[plugin fragile]\npark_after = 3/1m\n"


def shown(server: Server) -> tuple[str, float | None]:
    """Return what the server shows of the plugin: its state, and for how long it is parked."""
    (plugin,) = server.get("/-/api/plugins").json()["plugins"]
    return plugin["state"], plugin["parked_for"]


@pytest.mark.parametrize("what", ["raise", "504"])
def test_a_plugin_that_fails_often_is_parked_and_tried_again(launch: Launch, what: str) -> None:
    """The answers are 503 with `Retry-After` and do not enter Python; one request after 10 s restores it."""
    server = launch({"fragile": FRAGILE}, ini_more=PARK)
    for _ in range(3):
        assert server.get(f"/fragile/{what}").status_code in (500, 504)
    begun = time.monotonic()
    parked = server.get("/fragile")
    assert (503, "this plugin has failed too often and is left alone for a while; try again") == (
        parked.status_code,
        parked.json()["error"],
    )
    assert 8 <= int(parked.headers["retry-after"]) <= 10
    state, left = shown(server)
    assert "parked" == state
    assert left is not None
    assert 8 <= left <= 10
    server.wait_for("plugin fragile: parked after 3 failures within 60 s; it is tried again in 10 s")
    wait_until(lambda: server.get("/fragile").status_code == 200, timeout=15)
    assert time.monotonic() - begun > 9
    assert 5 == server.get("/fragile").json()["calls"]
    assert ("serving", None) == shown(server)
    server.wait_for("plugin fragile: answers again and is not parked any more")


def test_a_plugin_that_still_fails_is_parked_for_twice_the_time(launch: Launch) -> None:
    """The request that tries it gets its error; the next ones are refused for longer."""
    server = launch({"fragile": FRAGILE}, ini_more=PARK)
    (server.folder / "broken").touch()
    for _ in range(3):
        assert 500 == server.get("/fragile").status_code
    wait_until(lambda: server.get("/fragile").status_code == 500, timeout=15)
    refused = server.get("/fragile")
    assert (503, True) == (refused.status_code, 15 < int(refused.headers["retry-after"]) <= 20)
    server.wait_for("plugin fragile: still fails; it is tried again in 20 s")


def test_a_reload_restores_a_parked_plugin(launch: Launch) -> None:
    """Who has mended it does not have to wait."""
    server = launch({"fragile": FRAGILE}, ini_more=PARK)
    for _ in range(3):
        server.get("/fragile/raise")
    assert 503 == server.get("/fragile").status_code
    assert 200 == server.get("/reload/fragile").status_code
    assert 200 == server.get("/fragile").status_code


def test_stalls_count_as_failures(launch: Launch) -> None:
    """A plugin that blocks Python again and again is parked even though it answers."""
    server = launch({"fragile": FRAGILE}, ini_more="[server]\nstall_warn = 100ms\n" + PARK)
    for _ in range(3):
        server.get("/fragile/stall")
    wait_until(lambda: shown(server)[0] == "parked")


def test_other_answers_and_other_plugins_do_not_count(launch: Launch) -> None:
    """A 503 of the plugin's own is no failure, and without the key nothing is parked."""
    other = FRAGILE.replace("Fragile", "Other")
    server = launch({"fragile": FRAGILE, "other": other}, ini_more=PARK)
    for _ in range(10):
        assert 503 == server.get("/fragile/503").status_code
        assert 500 == server.get("/other/raise").status_code
    assert [200, 200] == [server.get(path).status_code for path in ("/fragile", "/other")]
