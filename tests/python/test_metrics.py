"""`/-/metrics`: what is counted, who may read it, and in which formats."""

from __future__ import annotations

import re
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
import trustme
from prometheus_client.openmetrics import parser as openmetrics

from support.metrics import increase, labelled, parsed, read, value
from support.server import Launch, Server, serving
from support.wait import wait_until
from support.wire import receive_all

PLUGIN = """
from plugincore.baseplugin import BasePlugin

class Shop(BasePlugin):
    http_methods = ("GET", "POST", "PUT")

    async def request_handler(self, *, code="200", **data):
        if code == "raise":
            raise LookupError("no such thing")
        return int(code), {}
"""

GUARDED = """
from plugincore.baseplugin import BasePlugin

class Guarded(BasePlugin):
    def __init__(self, **kwargs):
        super().__init__(auth_type="key", **kwargs)

    async def request_handler(self, **data):
        return 200, {}
"""

#: Sleeps in the handler, so that Python does nothing else.
BLOCKING = """
import time
from pathlib import Path
from plugincore.baseplugin import BasePlugin

class Blocking(BasePlugin):
    def request_handler(self, **data):
        while not Path("go").exists():
            time.sleep(0.01)
        return 200, {}
"""

SLOW = """
import asyncio, time
from plugincore.baseplugin import BasePlugin
from plugincore.responses import StreamingResponse

class Slow(BasePlugin):
    async def request_handler(self, *, kind="block", **data):
        if kind == "stream":
            async def pieces():
                for _ in range(3):
                    yield b"x" * 1000
            return StreamingResponse(pieces(), headers={"Content-Type": "text/plain"})
        if kind == "wait":
            await asyncio.sleep(0.2)
        if kind == "block":
            time.sleep(0.2)
        return 200, "x" * 500
"""

OWN = """
from plugincore.baseplugin import BasePlugin

class Own(BasePlugin):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.orders = self.metrics.counter("orders_total", "Orders", labels=["kind"])
        self.stock = self.metrics.gauge("stock", "Stock")
        self.sizes = self.metrics.histogram("size", "Sizes", buckets=[1, 10])

    def request_handler(self, *, kind="book", times="1", **data):
        if kind == "wrong":
            self.orders.inc(colour="red")
        for number in range(int(times)):
            self.orders.inc(2, kind=kind if times == "1" else number)
        self.stock.set(-1.5)
        self.sizes.observe(5)
        return 200, {}
"""

KEYS = """
[auth]
challenge = false
[keys]
scraper = key=s3cret&scopes=metrics
operator = key=c0ntrol&scopes=control
shopper = key=sh0p&scopes=guarded
former = key=0ld&scopes=guarded,metrics&expires=2020-01-01
"""

LIMITS = """
[limits]
body_size = 1000
target_size = 1000
"""

REQUESTS = "plugincore_requests_total"
DURATION = "plugincore_request_duration_seconds"
REFUSALS = "plugincore_refusals_total"

OPENMETRICS = "application/openmetrics-text; version=1.0.0"

PAGE = (Path(__file__).parent.parent.parent / "docs" / "metrics.md").read_text()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve without keys."""
    with serving(tmp_path_factory.mktemp("metrics"), {"shop": PLUGIN}, LIMITS) as running:
        yield running


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve with keys."""
    with serving(tmp_path_factory.mktemp("keyed"), {"guarded": GUARDED}, KEYS) as running:
        yield running


def test_requests_are_counted_by_plugin_method_and_code(server: Server) -> None:
    """Each once, whatever the plugin answers."""
    made = {("GET", "200"): 3, ("POST", "201"): 2, ("PUT", "503"): 1, ("GET", "418"): 1}
    before = read(server)
    for (method, code), times in made.items():
        for _ in range(times):
            assert int(code) == server.request(method, "/shop", params={"code": code}).status_code
    after = read(server)
    for (method, code), times in made.items():
        assert times == increase(before, after, REQUESTS, plugin="shop", method=method, code=code)
    assert sum(made.values()) == increase(before, after, f"{DURATION}_count", plugin="shop")
    assert increase(before, after, f"{DURATION}_sum", plugin="shop") > 0
    assert value(after, f"{DURATION}_count", plugin="shop") == value(
        after, f"{DURATION}_bucket", plugin="shop", le="+Inf"
    )
    assert increase(before, after, "plugincore_http_requests_total", version="1.1") == sum(made.values()) + 1


def test_what_no_plugin_answers_is_counted_under_one_name(server: Server) -> None:
    """However many addresses a client makes up, and for heads that are no requests, too."""
    before = read(server)
    for number in range(5):
        assert 404 == server.get(f"/nothing-{number}").status_code
    assert 405 == server.request("BREW", "/shop").status_code
    assert server.raw(b"GET /shop HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    assert server.raw(b"\x00\x01\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    after = read(server)
    assert 5 == increase(before, after, REQUESTS, plugin="-", method="GET", code="404")
    assert 1 == increase(before, after, REQUESTS, plugin="shop", method="other", code="405")
    assert 1 == increase(before, after, REQUESTS, plugin="-", method="GET", code="400")
    assert 1 == increase(before, after, REQUESTS, plugin="-", method="other", code="400")
    assert 5 == increase(before, after, REFUSALS, plugin="-", reason="not_found")
    assert 1 == increase(before, after, REFUSALS, plugin="shop", reason="not_found")
    assert 2 == increase(before, after, REFUSALS, plugin="-", reason="malformed")
    assert {"-", "shop"} == labelled(after, REQUESTS, "plugin")


def test_refusals_are_counted_by_their_reason(keyed: Server, launch: Launch) -> None:
    """For the plugin that they concern."""
    with_key = {"headers": {"Authorization": "Bearer s3cret"}}
    before = read(keyed, **with_key)
    assert [403, 403, 403] == [keyed.get("/guarded", params={"apikey": key}).status_code for key in ("", "x", "s3cret")]
    assert 403 == keyed.get("/guarded", params={"apikey": "0ld"}).status_code
    after = read(keyed, **with_key)
    assert 3 == increase(before, after, REFUSALS, plugin="guarded", reason="wrong_key")
    assert 1 == increase(before, after, REFUSALS, plugin="guarded", reason="expired")
    limited = launch({"shop": PLUGIN}, ini_more="[plugin shop]\nrate = 1/h\nrate_burst = 1\nbody_size = 10\n")
    assert [200, 429] == [limited.get("/shop").status_code for _ in range(2)]
    assert 200 == limited.post("/-/api/plugins/shop/disable").status_code
    assert 503 == limited.get("/shop").status_code
    figures = read(limited)
    for reason in ("rate", "overload"):
        assert 1 == value(figures, REFUSALS, plugin="shop", reason=reason)
    assert 1 == value(figures, "plugincore_plugins", state="disabled")


def test_a_body_over_the_limit_is_counted_as_such(server: Server) -> None:
    """And so is a target that is too long."""
    before = read(server)
    assert 413 == server.post("/shop", content=b"x" * 1001).status_code
    assert 414 == server.get("/" + "x" * 1001).status_code
    after = read(server)
    assert 1 == increase(before, after, REFUSALS, plugin="shop", reason="limit")
    assert 1 == increase(before, after, REFUSALS, plugin="-", reason="limit")


def test_exceptions_are_counted_by_their_type(server: Server) -> None:
    """Beside the 500 that the client gets."""
    before = read(server)
    assert 500 == server.get("/shop?code=raise").status_code
    after = read(server)
    assert 1 == increase(before, after, "plugincore_exceptions_total", plugin="shop", type="LookupError")
    assert 1 == increase(before, after, REQUESTS, plugin="shop", method="GET", code="500")
    assert 0 == increase(before, after, f"{REFUSALS}", plugin="shop", reason="malformed")


def test_figures_go_on_over_a_reload_and_go_with_their_plugin(launch: Launch) -> None:
    """A new version counts on in the same series."""
    server = launch({"shop": PLUGIN, "other": PLUGIN.replace("Shop", "Other")})
    assert [200, 200] == [server.get(path).status_code for path in ("/shop", "/other")]
    (server.plugins / "shop.py").write_text(PLUGIN + "\n# another version\n")
    (server.plugins / "other.py").unlink()
    assert 200 == server.post("/reload/all").status_code
    assert 200 == server.get("/shop").status_code
    figures = read(server)
    assert 2 == value(figures, REQUESTS, plugin="shop", method="GET", code="200")
    assert 2 == value(figures, "plugincore_plugin_generation", plugin="shop")
    assert {"-", "shop"} == labelled(figures, REQUESTS, "plugin")


def test_the_figures_come_while_a_plugin_blocks_python(launch: Launch) -> None:
    """And show its requests in flight."""
    server = launch({"blocking": BLOCKING})
    with server.client() as client, server.connect() as blocked:
        blocked.sendall(b"GET /blocking HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        while not value(parsed(client.get("/-/metrics").text), "plugincore_requests_in_flight", plugin="blocking"):
            pass
        figures = parsed(client.get("/-/metrics").text)
        assert (1, 1) == (value(figures, "plugincore_ready"), value(figures, "plugincore_plugins", state="serving"))
        assert value(figures, "plugincore_connections_open") >= 2
        (server.folder / "go").touch()
        assert blocked.recv(12) == b"HTTP/1.1 200"


def test_openmetrics_is_sent_to_those_who_accept_it(server: Server) -> None:
    """All others get the text of Prometheus, which says the same."""
    # What is answered for the first time makes figures that were not there.
    read(server)
    plain = server.get("/-/metrics")
    assert "text/plain; version=0.0.4; charset=utf-8" == plain.headers["content-type"]
    assert "no-store" == plain.headers["cache-control"]
    answer = server.get("/-/metrics", headers={"Accept": OPENMETRICS})
    assert f"{OPENMETRICS}; charset=utf-8" == answer.headers["content-type"]
    families = {family.name: family for family in openmetrics.text_string_to_metric_families(answer.text)}
    assert "counter" == families["plugincore_requests"].type
    assert "seconds" == families["plugincore_request_duration_seconds"].unit
    names = {sample.name for family in families.values() for sample in family.samples}
    assert {name for name, _ in parsed(plain.text)} == names
    head = server.request("HEAD", "/-/metrics")
    assert (200, b"") == (head.status_code, head.content)


def test_the_documentation_lists_each_figure(server: Server) -> None:
    """With its type, its labels and its meaning."""
    text = server.get("/-/metrics").text
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    meanings = dict(re.findall(r"^# HELP (\S+) (.*)$", text, re.MULTILINE))
    rows = re.findall(r"^\| `(\w+)` \| (counter|gauge|histogram) \|(.*)\| (.*) \|$", PAGE, re.MULTILINE)
    assert [(name, kind, meanings[name]) for name, kind in kinds.items()] == [
        (name, kind, meaning) for name, kind, _, meaning in rows
    ]
    documented = {name: set(re.findall(r"\w+", labels)) for name, _, labels, _ in rows}
    for name, labels in parsed(text):
        family = name if name in kinds else re.sub(r"_(bucket|count|sum)$", "", name)
        assert documented[family] == set(dict(labels)) - {"le"}, name


def test_without_keys_they_are_for_this_machine_alone(server: Server) -> None:
    """And not for web pages of other sites."""
    assert 200 == server.get("/-/metrics").status_code
    for headers in (
        {"X-Forwarded-For": "192.0.2.7"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "evil.example"},
        {"Origin": "https://evil.example"},
    ):
        answer = server.get("/-/metrics", headers=headers)
        assert 403 == answer.status_code, headers
        assert "plugincore_" not in answer.text


def test_with_keys_one_of_scope_metrics_or_control_is_required(keyed: Server) -> None:
    """Also on this machine; a key for a plugin does not do."""

    def status(key: str | None, **options: object) -> int:
        headers = {"X-Forwarded-For": "192.0.2.9"} | ({} if key is None else {"Authorization": f"Bearer {key}"})
        return keyed.get("/-/metrics", headers=headers, **options).status_code

    assert 403 == keyed.get("/-/metrics").status_code
    assert [200, 200] == [status("s3cret"), status("c0ntrol")]
    assert [403, 403, 403] == [status(None), status("sh0p"), status("0ld")]
    assert 200 == keyed.get("/-/metrics", params={"apikey": "s3cret"}).status_code
    assert 403 == keyed.get("/plugins", params={"apikey": "s3cret"}).status_code


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "BREW"])
def test_they_are_read_only(keyed: Server, method: str) -> None:
    """Whatever the key."""
    answer = keyed.request(method, "/-/metrics")
    assert (405, "GET, HEAD, OPTIONS") == (answer.status_code, answer.headers["allow"])
    options: httpx.Response = keyed.request("OPTIONS", "/-/metrics")
    assert (204, "GET, HEAD, OPTIONS") == (options.status_code, options.headers["allow"])


def test_waiting_in_the_queue_is_told_from_the_time_in_the_handler(launch: Launch) -> None:
    """A handler that blocks Python has the next request wait; one that awaits does not."""
    server = launch({"slow": SLOW})
    head = b"GET /slow?kind=%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    for kind in (b"wait", b"block"):
        before = read(server)
        with server.connect() as one, server.connect() as other:
            for connection in (one, other):
                connection.sendall(head % kind)
            for connection in (one, other):
                assert receive_all(connection).startswith(b"HTTP/1.1 200")
        after = read(server)
        queue, handler = (
            increase(before, after, f"plugincore_{name}_seconds_sum", plugin="slow")
            for name in ("queue_wait", "handler_duration")
        )
        assert 2 == increase(before, after, "plugincore_handler_duration_seconds_count", plugin="slow")
        assert handler >= 0.4
        assert (kind == b"block") == (queue >= 0.1), (kind, queue)


def test_bytes_of_bodies_are_counted_whole_streamed_and_compressed(launch: Launch) -> None:
    """Beside all bytes that go over the network."""
    server = launch({"slow": SLOW})
    before = read(server)
    assert 500 == len(server.get("/slow?kind=none").content)
    assert 3000 == len(server.get("/slow?kind=stream", headers={"Accept-Encoding": "identity"}).content)
    assert b"" == server.request("HEAD", "/slow?kind=none").content
    after = read(server)
    assert 3500 == increase(before, after, "plugincore_response_body_bytes_total", plugin="slow")
    assert increase(before, after, "plugincore_sent_bytes_total") > 3500
    assert increase(before, after, "plugincore_received_bytes_total") > 100
    assert 4 == increase(before, after, "plugincore_connections_total")
    packed = server.get("/slow?kind=stream", headers={"Accept-Encoding": "gzip"})
    assert ("gzip", 3000) == (packed.headers.get("content-encoding"), len(packed.content))
    assert 0 < increase(after, read(server), "plugincore_response_body_bytes_total", plugin="slow") < 1000


def test_reloads_are_counted_by_their_result(launch: Launch) -> None:
    """Whatever they were asked for by."""
    server = launch({"shop": PLUGIN})
    assert 200 == server.post("/reload/shop").status_code
    (server.plugins / "shop.py").write_text("raise LookupError")
    assert 500 == server.post("/reload/all").status_code
    figures = read(server)
    for result in ("success", "failure"):
        assert 1 == value(figures, "plugincore_reloads_total", result=result)


def test_the_lag_of_the_loop_and_the_wait_for_the_interpreter_are_measured(launch: Launch) -> None:
    """A plugin that blocks the loop shows, and its stall is counted."""
    server = launch({"slow": SLOW}, ini_more="[server]\nstall_warn = 20ms\n")
    wait_until(lambda: value(read(server), "plugincore_gil_wait_seconds_count") > 1)
    before = read(server)
    assert 200 == server.get("/slow?kind=block").status_code
    wait_until(lambda: increase(before, read(server), "plugincore_loop_lag_seconds_sum") > 0.1)
    figures = wait_until(
        lambda: (found := read(server)) and value(found, "plugincore_stalls_total", plugin="slow") and found
    )
    assert value(figures, "plugincore_stall_seconds_total", plugin="slow") > 0.01


@pytest.mark.skipif(sys.platform != "linux", reason="figures of the process are read from /proc")
def test_figures_of_the_process_have_their_usual_names(server: Server) -> None:
    """So that common dashboards show them."""
    figures = read(server)
    process = psutil.Process(server.pid)
    assert abs(value(figures, "process_start_time_seconds") - process.create_time()) < 60
    assert 0.2 < value(figures, "process_resident_memory_bytes") / process.memory_info().rss < 5
    assert value(figures, "process_cpu_seconds_total") > 0
    assert 3 < value(figures, "process_open_fds") < value(figures, "process_max_fds")
    assert value(figures, "process_threads") >= 2
    assert value(figures, "process_virtual_memory_bytes") > value(figures, "process_resident_memory_bytes")


def test_tls_handshakes_are_counted_by_version(launch: Launch, tmp_path: Path) -> None:
    """And those that fail."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    tls = f"[SSL]\nenabled = true\ncertfile = {tmp_path}/cert.pem\nkeyfile = {tmp_path}/key.pem\n"
    server = launch({"shop": PLUGIN}, ini_more=tls)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with server.client(verify=context) as client:
        assert b"HTTPS" in server.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        figures = parsed(client.get("/-/metrics").text)
    assert 1 == value(figures, "plugincore_tls_handshakes_total", version="1.3")
    assert 0 == value(figures, "plugincore_tls_handshakes_total", version="1.2")
    assert 1 == value(figures, "plugincore_tls_handshake_failures_total")
    assert 1 == value(figures, REFUSALS, plugin="-", reason="malformed")


def test_plugins_have_figures_of_their_own_that_go_on_over_reloads(launch: Launch) -> None:
    """Under names that begin with the plugin's."""
    server = launch({"own": OWN})
    assert 200 == server.get("/own").status_code
    (server.plugins / "own.py").write_text(OWN + "\n# another version\n")
    assert 200 == server.post("/reload/own").status_code
    assert [200, 200] == [server.get("/own", params={"kind": kind}).status_code for kind in ("book", 'a"b\n')]
    assert 500 == server.get("/own?kind=wrong").status_code
    figures = read(server)
    assert (4, 2) == tuple(value(figures, "own_orders_total", kind=kind) for kind in ("book", 'a"b\n'))
    assert -1.5 == value(figures, "own_stock")
    assert [0, 3, 3] == [value(figures, "own_size_bucket", le=bound) for bound in ("1.0", "10.0", "+Inf")]
    assert (3, 15) == (value(figures, "own_size_count"), value(figures, "own_size_sum"))
    text = server.get("/-/metrics", headers={"Accept": OPENMETRICS}).text
    assert "own_orders" in {family.name for family in openmetrics.text_string_to_metric_families(text)}


def test_too_many_series_of_a_plugin_are_left_out_and_counted(launch: Launch) -> None:
    """The plugin does not notice."""
    server = launch({"own": OWN})
    assert 200 == server.get("/own?times=1500").status_code
    figures = read(server)
    assert 1000 == len(labelled(figures, "own_orders_total", "kind"))
    assert 502 == value(figures, "plugincore_metric_calls_dropped_total", plugin="own")


def test_a_plugin_may_have_another_attribute_called_metrics(launch: Launch) -> None:
    """As plugins written before did."""
    source = PLUGIN.replace("    async def", "    metrics = None\n\n    async def")
    init = "def __init__(self, **kwargs):\n        super().__init__(**kwargs)\n        self.metrics = {}"
    setting = PLUGIN.replace('http_methods = ("GET", "POST", "PUT")', init)
    setting = setting.replace("return int(code), {}", "return int(code), self.metrics")
    server = launch({"shop": source, "other": setting.replace("Shop", "Other")})
    assert [200, 200] == [server.get(path).status_code for path in ("/shop", "/other")]
