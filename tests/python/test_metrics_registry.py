"""What plugins keep with the package ``prometheus_client`` is part of `/-/metrics`."""

from __future__ import annotations

from prometheus_client.openmetrics import parser as openmetrics

from support.metrics import parsed, read, value
from support.server import Launch
from support.wait import wait_until

COUNTING = """
import time
from pathlib import Path
from prometheus_client import Counter, Gauge
from plugincore.baseplugin import BasePlugin

SOLD = Counter("sold", "Sold", ["kind"])
Gauge("process_threads", "Not this, since the server has it")

class Counting(BasePlugin):
    def request_handler(self, *, block="", **data):
        SOLD.labels("book").inc()
        while block and not Path("go").exists():
            time.sleep(0.01)
        return 200, {}
"""

BROKEN = """
from prometheus_client import REGISTRY
from plugincore.baseplugin import BasePlugin

class Collector:
    def describe(self):
        return []

    def collect(self):
        raise LookupError("no figures")

class Broken(BasePlugin):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        REGISTRY.register(Collector())

    def request_handler(self, **data):
        return 200, {}
"""

OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}


def test_a_registry_follows_the_servers_own_figures(launch: Launch) -> None:
    """In both formats; what the server has itself is there once."""
    server = launch({"counting": COUNTING})
    assert 200 == server.get("/counting").status_code
    figures = read(server)
    assert 1 == value(figures, "sold_total", kind="book")
    assert value(figures, "process_threads") > 1
    text = server.get("/-/metrics", headers=OPENMETRICS).text
    families = {family.name: family for family in openmetrics.text_string_to_metric_families(text)}
    assert "Sold" == families["sold"].documentation
    assert text.count("# EOF") == 1


def test_while_python_is_blocked_the_last_text_is_sent(launch: Launch) -> None:
    """And the next one is new again."""
    server = launch({"counting": COUNTING})
    with server.client() as client, server.connect() as blocked:
        assert 0 == value(parsed(client.get("/-/metrics").text), "sold_total", kind="book")
        assert 200 == client.get("/counting").status_code
        assert 1 == value(parsed(client.get("/-/metrics").text), "sold_total", kind="book")
        blocked.sendall(b"GET /counting?block=1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")

        def is_blocked() -> bool:
            figures = parsed(client.get("/-/metrics").text)
            return bool(value(figures, "plugincore_requests_in_flight", plugin="counting"))

        wait_until(is_blocked)
        # The last text may have been begun before the handler was called, and written after it had counted.
        assert value(parsed(client.get("/-/metrics").text), "sold_total", kind="book") in (1, 2)
        (server.folder / "go").touch()
        assert blocked.recv(12) == b"HTTP/1.1 200"
        wait_until(lambda: 2 == value(parsed(client.get("/-/metrics").text), "sold_total", kind="book"))


def test_a_registry_that_raises_is_logged_and_costs_no_other_figure(launch: Launch) -> None:
    """The log names what it raised."""
    server = launch({"broken": BROKEN})
    assert 1 == value(read(server), "plugincore_plugins", state="serving")
    server.wait_for("WARN - plugincore - the figures of prometheus_client cannot be written: LookupError: no figures")
