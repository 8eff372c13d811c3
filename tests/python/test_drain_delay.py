"""`[server] drain_delay`: requests are served for a while after the readiness has begun to fail."""

from __future__ import annotations

import signal
import time

import pytest

from support.server import Launch, Server
from support.wait import wait_until
from test_lifecycle import OTHER, PLUGIN, asking, wait_until_refused


def ready(server: Server) -> int:
    """Return the status of the readiness."""
    return server.get("/-/ready").status_code


def test_during_the_drain_delay_requests_are_served(launch: Launch) -> None:
    """`/-/ready` fails at once, new connections are served as before, and reloads work, until the delay is over."""
    server = launch({"other": OTHER}, ini_more="[server]\ndrain_delay = 1s\n")
    assert 200 == ready(server)
    began = time.monotonic()
    server.send(signal.SIGTERM)
    server.wait_for("Received SIGTERM; serving for 1 s more, then stopping")
    assert (503, 200) == (ready(server), server.get("/other").status_code)
    server.send(signal.SIGHUP)
    server.wait_for("Reloaded all")
    assert (503, 200) == (ready(server), server.get("/other").status_code)
    assert 0 == server.wait()
    assert 1 <= time.monotonic() - began


def test_a_second_signal_ends_the_drain_delay_and_a_third_the_process(launch: Launch) -> None:
    """The second begins the usual stop, which waits for requests; the third does not wait."""
    server = launch({"plugin": PLUGIN}, ini_more="[server]\ndrain_delay = 1h\nshutdown_timeout = 60s\n")
    with asking(server, "/plugin?gate=never"):
        server.send(signal.SIGINT)
        server.wait_for("serving for 3600 s more")

        def send_until(text: str) -> None:
            def sent() -> bool:
                if server.alive:
                    server.send(signal.SIGINT)
                return text in server.log

            wait_until(sent, lambda: server.log, interval=0.1)

        send_until("Received SIGINT again; stopping now")
        wait_until_refused(server)
        send_until("Received SIGINT again; ending at once")
        assert 3 == server.wait()


@pytest.mark.parametrize("delay", ["0", "0s", "5ms"])
def test_a_drain_delay_may_be_nothing(launch: Launch, delay: str) -> None:
    """It is the default."""
    server = launch({"other": OTHER}, ini_more=f"[server]\ndrain_delay = {delay}\n")
    assert 0 == server.stop()
