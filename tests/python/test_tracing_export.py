"""Spans of requests and reloads, as a collector receives them by OTLP."""

from __future__ import annotations

import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from websockets.sync.client import connect

from support import metrics
from support.collector import Collector, Span
from support.http2 import Http2
from support.plugins import INI
from support.server import Launch, Server
from support.wait import wait_until

#: A plugin that records spans of its own, as docs/tracing.md has it.
TILL = """
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from plugincore.baseplugin import BasePlugin

class Till(BasePlugin):
    async def initialize(self, **kwargs):
        self.provider = TracerProvider()
        self.provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self.tracer = self.provider.get_tracer("till")

    async def request_handler(self, **data):
        with self.tracer.start_as_current_span("price"):
            return 200, {"price": 3}

    def terminate_plugin(self):
        self.provider.shutdown()
"""

PLUGINS = {
    "shop": """
        import asyncio
        from plugincore.baseplugin import BasePlugin
        from plugincore.responses import StreamingResponse

        async def pieces():
            for _ in range(3):
                await asyncio.sleep(0.01)
                yield b"piece"

        class Shop(BasePlugin):
            async def request_handler(self, request, subpath=None, **data):
                if subpath == "raise":
                    raise KeyError("k")
                if subpath == "slow":
                    await asyncio.sleep(0.05)
                if subpath == "stream":
                    return StreamingResponse(pieces())
                return int(subpath) if subpath and subpath.isdigit() else 200, {"trace": request.traceparent}
    """,
    "socket": """
        from aiohttp import web
        from plugincore.baseplugin import BasePlugin

        class Socket(BasePlugin):
            async def request_handler(self, request, **data):
                socket = web.WebSocketResponse()
                await socket.prepare(request)
                async for message in socket:
                    await socket.send_str(message.data)
                return socket
    """,
}

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
GIVEN = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
UNSAMPLED = {"traceparent": f"00-{TRACE}-{PARENT}-00"}

LOST = "plugincore_spans_lost_total"
SENT = "plugincore_spans_sent_total"


@pytest.fixture
def collector() -> Iterator[Collector]:
    """Listen as a collector."""
    with Collector() as collector:
        yield collector


def tracing(collector: Collector, more: str = "") -> str:
    """Return the section that sends spans there."""
    return f"[tracing]\nendpoint = {collector.address}\n{more}\n"


def trace_of(traceparent: str) -> tuple[str, str]:
    """Return the ids of a trace and of a span."""
    _, trace, span, _ = traceparent.split("-")
    return trace, span


def by_name(spans: list[Span]) -> dict[str, Span]:
    """Return spans by their names, each of which occurs once."""
    found = {span.name: span for span in spans}
    assert len(found) == len(spans)
    return found


def test_a_request_has_spans_for_itself_its_queue_and_its_handler(launch: Launch, collector: Collector) -> None:
    """In the client's trace, each where and when it belongs, with what OpenTelemetry calls things."""
    server = launch(PLUGINS, ini_more=tracing(collector))
    before = time.time_ns()
    answer = server.get("/shop/slow?apikey=secret&a=1", headers=GIVEN | {"X-Request-Id": "r-1"})
    trace, span = trace_of(answer.headers["traceparent"])
    assert TRACE == trace
    spans = by_name(collector.of(trace, 3))
    after = time.time_ns()
    assert {"GET /shop", "queue", "handler"} == set(spans)
    request, queue, handler = spans["GET /shop"], spans["queue"], spans["handler"]
    assert (span, PARENT) == (request.id, request.parent)
    assert [span, span] == [queue.parent, handler.parent]
    assert 3 == len({one.id for one in spans.values()})
    assert [True, False, False] == [one.is_server for one in (request, queue, handler)]
    # Bits: sampled, it is known whether the parent is elsewhere, it is.
    assert [0x301, 0x101, 0x101] == [one.message.flags for one in (request, queue, handler)]
    times = [
        before,
        request.message.start_time_unix_nano,
        queue.message.start_time_unix_nano,
        queue.message.end_time_unix_nano,
        handler.message.start_time_unix_nano,
        handler.message.end_time_unix_nano,
        request.message.end_time_unix_nano,
        after,
    ]
    assert sorted(times) == times
    assert times[5] - times[4] > 40_000_000
    assert {
        "http.request.method": "GET",
        "url.scheme": "http",
        "url.path": "/shop/slow",
        "http.route": "/shop",
        "http.response.status_code": 200,
        "network.protocol.version": "1.1",
        "client.address": "127.0.0.1",
        "plugincore.plugin": "shop",
        "plugincore.request_id": "r-1",
    } == request.attributes
    assert {"plugincore.plugin": "shop"} == handler.attributes
    assert {} == queue.attributes
    assert not any(one.has_failed for one in spans.values())
    assert not any(b"secret" in one.message.SerializeToString() for one in spans.values())


def test_the_resource_names_service_version_and_host(launch: Launch, collector: Collector) -> None:
    """By the names that collectors look for, to the path where they listen."""
    server = launch(PLUGINS, ini_more=tracing(collector, "service = till\nheaders = X-Key=a%2Cb, other = c"))
    trace, _ = trace_of(server.get("/shop").headers["traceparent"])
    resource = collector.of(trace)[0].resource
    assert ("till", socket.gethostname(), server.pid) == (
        resource["service.name"],
        resource["host.name"],
        resource["process.pid"],
    )
    assert re.fullmatch(r"\d+\.\d+\.\d+", str(resource["service.version"]))
    assert {"/v1/traces"} == set(collector.paths)
    headers = collector.headers[0]
    assert ("application/x-protobuf", "a,b", "c") == (headers["content-type"], headers["x-key"], headers["other"])


def test_a_trace_that_begins_here_has_no_parent(launch: Launch, collector: Collector) -> None:
    """And the default name of the service."""
    server = launch(PLUGINS, ini_more=tracing(collector))
    trace, span = trace_of(server.get("/shop").headers["traceparent"])
    request = by_name(collector.of(trace, 3))["GET /shop"]
    assert (span, "", 0x1) == (request.id, request.parent, request.message.flags)
    assert "plugincore" == request.resource["service.name"]


def test_failures_mark_the_spans(launch: Launch, collector: Collector) -> None:
    """An exception by its type, a status of 500 by the number; what the client has done wrong is no failure."""
    server = launch(PLUGINS, ini_more=tracing(collector))
    found = {}
    for path in ("raise", "503", "404"):
        trace, _ = trace_of(server.get(f"/shop/{path}").headers["traceparent"])
        found[path] = by_name(collector.of(trace, 3))
    request, handler = found["raise"]["GET /shop"], found["raise"]["handler"]
    for span in (request, handler):
        assert span.has_failed
        assert "KeyError" == span.attributes["error.type"] == span.message.status.message
    assert 500 == request.attributes["http.response.status_code"]
    assert found["503"]["GET /shop"].has_failed
    assert "503" == found["503"]["GET /shop"].attributes["error.type"]
    assert not found["503"]["handler"].has_failed
    assert not found["404"]["GET /shop"].has_failed
    assert "error.type" not in found["404"]["GET /shop"].attributes


def test_what_the_server_answers_by_itself_has_a_span(launch: Launch, collector: Collector) -> None:
    """Refusals with their reason, the server's own pages with their route, bytes that are no request."""
    server = launch(PLUGINS, ini_more=tracing(collector))

    def only(traceparent: str) -> Span:
        (span,) = collector.of(trace_of(traceparent)[0])
        return span

    missing = only(server.get("/nowhere/a?b=c").headers["traceparent"])
    assert ("GET", "/nowhere/a", 404, "not_found") == (
        missing.name,
        missing.attributes["url.path"],
        missing.attributes["http.response.status_code"],
        missing.attributes["plugincore.refusal"],
    )
    assert "http.route" not in missing.attributes
    refused = only(server.request("DELETE", "/shop").headers["traceparent"])
    assert ("DELETE /shop", 405) == (refused.name, refused.attributes["http.response.status_code"])
    healthy = only(server.get("/-/healthy").headers["traceparent"])
    assert ("GET /-/healthy", "/-/healthy") == (healthy.name, healthy.attributes["http.route"])
    odd = only(server.request("BREW", "/shop").headers["traceparent"])
    assert ("_OTHER", "BREW") == (
        odd.attributes["http.request.method"],
        odd.attributes["http.request.method_original"],
    )
    for head, path in ((b"nonsense\r\n\r\n", None), (b"GET /a HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", "/a")):
        (header,) = re.findall(rb"\r\ntraceparent: (\S+)\r\n", server.raw(head))
        span = only(header.decode())
        assert (400, "malformed") == (
            span.attributes["http.response.status_code"],
            span.attributes["plugincore.refusal"],
        )
        assert path == span.attributes.get("url.path")
        assert not span.has_failed


def test_requests_by_http_2_and_streams_and_websockets_have_spans(launch: Launch, collector: Collector) -> None:
    """A stream's lasts until its end, that of a WebSocket until it has begun."""
    server = launch(PLUGINS, ini_more=tracing(collector))
    with Http2(server) as client:
        spans = by_name(collector.of(trace_of(client.ask("/shop").headers["traceparent"])[0], 3))
    assert "2" == spans["GET /shop"].attributes["network.protocol.version"]
    stream = server.get("/shop/stream")
    spans = by_name(collector.of(trace_of(stream.headers["traceparent"])[0], 3))
    request = spans["GET /shop"].message
    assert request.end_time_unix_nano - request.start_time_unix_nano > 25_000_000
    with connect(server.base_url.replace("http", "ws") + "/socket", proxy=None) as websocket:
        websocket.send("hello")
        assert "hello" == websocket.recv()
        assert websocket.response
        spans = by_name(collector.of(trace_of(websocket.response.headers["traceparent"])[0], 3))
    assert 101 == spans["GET /socket"].attributes["http.response.status_code"]


def test_traces_that_are_not_recorded_are_not_sent(launch: Launch, collector: Collector) -> None:
    """The client's flag decides, whatever part of the traces that begin here is recorded."""
    server = launch(PLUGINS, ini_more=tracing(collector, "sample = 1/1000000"))
    for _ in range(20):
        assert server.get("/shop", headers=UNSAMPLED).headers["traceparent"].endswith("-00")
        # One in a million would be recorded.
        assert server.get("/shop").headers["traceparent"].endswith("-00")
    assert server.get("/shop", headers=GIVEN).headers["traceparent"].endswith("-01")
    assert 0 == server.stop()
    assert 3 == len(collector.spans())
    assert {TRACE} == {span.trace for span in collector.spans()}


def test_a_part_of_the_traces_is_recorded_and_the_answer_says_which(launch: Launch, collector: Collector) -> None:
    """By the ids, so that other services decide alike."""
    server = launch(PLUGINS, ini_more=tracing(collector, "sample = 1/4"))
    recorded = set()
    with server.client() as client:
        for _ in range(200):
            _, trace, _, flags = client.get("/shop").headers["traceparent"].split("-")
            assert ("01" == flags) == (int(trace[16:], 16) >> 1 < 2**63 // 4)
            recorded |= {trace} if "01" == flags else set()
    assert 10 < len(recorded) < 120
    assert 0 == server.stop()
    assert recorded == {span.trace for span in collector.spans()}


def test_a_reload_has_a_span_with_its_plugins_and_its_result(launch: Launch, collector: Collector) -> None:
    """In a trace of its own; one that fails has the reason."""
    server = launch(PLUGINS, ini_more=tracing(collector))
    server.get("/reload/shop")
    (span,) = collector.named("reload")
    assert {
        "plugincore.reload.target": "shop",
        "plugincore.reload.result": "success",
        "plugincore.plugins": ["shop"],
    } == span.attributes
    assert ("", False, False) == (span.parent, span.is_server, span.has_failed)
    assert span.message.end_time_unix_nano > span.message.start_time_unix_nano
    (server.plugins / "shop.py").write_text("def (")
    server.get("/reload/all")
    failed = wait_until(lambda: [span for span in collector.named("reload") if span.has_failed])[0]
    assert ("all", "failure") == (
        failed.attributes["plugincore.reload.target"],
        failed.attributes["plugincore.reload.result"],
    )
    assert ["shop", "socket"] == failed.attributes["plugincore.plugins"]
    assert "shop.py" in failed.message.status.message


def test_spans_of_a_plugin_belong_to_its_request(launch: Launch, collector: Collector) -> None:
    """Recorded and sent by OpenTelemetry's own package, which the extra `otel` installs."""
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.address}
    server = launch({"till": TILL}, ini_more=tracing(collector), env=env)
    answer = server.get("/till", headers=GIVEN)
    assert {"price": 3} == answer.json()
    assert 0 == server.stop()
    spans = by_name(collector.of(TRACE, 4))
    assert {"GET /till", "queue", "handler", "price"} == set(spans)
    assert spans["GET /till"].id == spans["price"].parent


def closed_port() -> int:
    """Return a port at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_without_a_collector_requests_are_answered_and_the_loss_is_counted(launch: Launch) -> None:
    """After three attempts, with one line of the log."""
    server = launch(PLUGINS, ini_more=f"[tracing]\nendpoint = http://127.0.0.1:{closed_port()}\n")
    for _ in range(5):
        assert 200 == server.get("/shop").status_code
    wait_until(lambda: metrics.value(metrics.read(server), LOST) >= 15, "no loss is counted", interval=0.2)
    assert 0 == metrics.value(metrics.read(server), SENT)
    assert 1 == len(re.findall("does not take spans", server.log))
    begun = time.monotonic()
    assert 0 == server.stop()
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize(("status", "attempts"), [(503, 3), (400, 1)])
def test_a_collector_that_refuses_is_asked_again_if_that_may_help(
    launch: Launch, collector: Collector, status: int, attempts: int
) -> None:
    """What it does not take is lost."""
    collector.status = status
    server = launch(PLUGINS, ini_more=tracing(collector))
    server.get("/shop")
    wait_until(lambda: metrics.value(metrics.read(server), LOST) >= 3, "no loss is counted", interval=0.5)
    assert attempts <= len(collector.paths)
    server.wait_for(f"does not take spans: it answers {status}")


def test_a_collector_that_comes_back_gets_what_has_waited(launch: Launch, collector: Collector) -> None:
    """And the log says so."""
    collector.status = 503
    server = launch(PLUGINS, ini_more=tracing(collector))
    trace, _ = trace_of(server.get("/shop").headers["traceparent"])
    wait_until(lambda: collector.paths, "it is never asked")
    collector.status = 200
    assert 3 == len(collector.of(trace, 3))
    server.wait_for("takes spans again; 0 were lost so far")
    figures = metrics.read(server)
    assert (3, 0) == (metrics.value(figures, SENT), metrics.value(figures, LOST))


def test_spans_that_a_collector_rejects_are_lost(launch: Launch, collector: Collector) -> None:
    """Which it says in its response."""
    collector.rejected = 2
    server = launch(PLUGINS, ini_more=tracing(collector))
    trace, _ = trace_of(server.get("/shop").headers["traceparent"])
    collector.of(trace, 3)
    figures = wait_until(lambda: metrics.read(server) if metrics.value(metrics.read(server), LOST) else None)
    assert (1, 2) == (metrics.value(figures, SENT), metrics.value(figures, LOST))


def test_a_stop_sends_what_waits(launch: Launch, collector: Collector) -> None:
    """Without waiting for the time in which spans collect."""
    server = launch(PLUGINS, ini_more=tracing(collector))
    with server.client() as client:
        traces = {trace_of(client.get("/shop").headers["traceparent"])[0] for _ in range(50)}
    assert 0 == server.stop()
    assert traces == {span.trace for span in collector.spans()}
    assert 150 == len(collector.spans())


def test_a_restart_sends_what_waits(launch: Launch, collector: Collector) -> None:
    """And the new image of the process sends its own."""
    server = launch(PLUGINS, ini_more=tracing(collector))
    trace, _ = trace_of(server.get("/shop").headers["traceparent"])
    since = len(server.lines)
    server.send(signal.SIGUSR1)
    server.wait_for("Server started on ", since)
    assert 3 == len(collector.of(trace, 3))
    trace, _ = trace_of(server.get("/shop").headers["traceparent"])
    assert 3 == len(collector.of(trace, 3))


def test_a_collector_that_hangs_holds_up_no_request_and_no_stop(launch: Launch) -> None:
    """It has two seconds at the end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = launch(PLUGINS, ini_more=f"[tracing]\nendpoint = {endpoint}\n")
        assert 200 == server.get("/shop").status_code
        connection, _ = listener.accept()
        with connection:
            begun = time.monotonic()
            assert 200 == server.get("/shop").status_code
            assert 0 == server.stop()
            assert time.monotonic() - begun < 10
    assert "spans were lost at the end" in server.log


def test_a_reload_of_the_ini_file_changes_where_spans_go(launch: Launch, collector: Collector) -> None:
    """On and off: each request goes by the settings that it began with, a reload by those that it has made."""
    server = launch(PLUGINS)
    ini = (server.folder / "server.ini").read_text()
    server.get("/shop")
    (server.folder / "server.ini").write_text(ini + "\n" + tracing(collector))
    assert 200 == server.get("/reload/all").status_code
    trace, _ = trace_of(server.get("/shop").headers["traceparent"])
    collector.of(trace, 3)
    (server.folder / "server.ini").write_text(ini)
    assert 200 == server.get("/reload/all").status_code
    server.get("/shop")
    assert 0 == server.stop()
    names = ["GET /reload/{id}", "GET /shop", "handler", "queue", "reload"]
    assert names == sorted(span.name for span in collector.spans())


def certified(authority: trustme.CA) -> Collector:
    """Return a collector by TLS."""
    return Collector(certify=authority.issue_cert("localhost").configure_cert)


def test_a_collector_by_tls_is_trusted_by_the_authorities_of_the_system(launch: Launch, tmp_path: Path) -> None:
    """Or by those in `SSL_CERT_FILE`; another one gets nothing."""
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    for signed_by, is_trusted in ((authority, True), (stranger, False)):
        with certified(signed_by) as collector:
            server: Server = launch(
                PLUGINS,
                ini_more=tracing(collector),
                folder=tmp_path / str(is_trusted),
                env={"SSL_CERT_FILE": str(tmp_path / "authority.pem")},
            )
            trace, _ = trace_of(server.get("/shop").headers["traceparent"])
            if is_trusted:
                collector.of(trace, 3)
            else:
                server.wait_for(r"does not take spans: .*(UnknownIssuer|certificate)")
            assert 0 == server.stop()
            assert (3 if is_trusted else 0) == len(collector.spans())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("endpoint = localhost:4318", r"endpoint: must be an address that begins with http:// or https://, not "),
        ("endpoint = grpc://collector:4317", r"endpoint: must be an address that begins with http:// or https://"),
        ("endpoint = http://a b", r"endpoint: must be an address: invalid uri character"),
        ("endpoint = http://me:secret@collector:4318", r"endpoint: has a name or a password in it"),
        ("endpoint = http://collector:4318/?key=1", r"endpoint: must be an address without a query"),
        ("endpoint = ${ENV:NOT_THERE}", r"endpoint: .*NOT_THERE"),
        ("endpoint = http://127.0.0.1:4318\nsample = 10", r"sample: must be 1 of a number of requests"),
        ("endpoint = http://127.0.0.1:4318\nheaders = secret", r"headers: has something that is no header"),
        ("endpoint = http://127.0.0.1:4318\nservice =", r"service: must be a name"),
    ],
)
def test_a_wrong_setting_prevents_the_start(launch: Launch, text: str, message: str) -> None:
    """With file and line, the remedy, and code 2; a secret is not shown."""
    server = launch(PLUGINS, ini_more=f"[tracing]\n{text}\n", ready=False)
    assert 2 == server.wait()
    line = re.search(rf"server\.ini:\d+: \[tracing\] {message}.*", server.log)
    assert line, server.log
    assert re.search(r"\((write|leave|send|set) .*\)", line[0]), line[0]
    assert "secret" not in server.log


def test_an_empty_endpoint_sends_nothing(launch: Launch) -> None:
    """As a reference to a variable with an empty default gives it."""
    server = launch(PLUGINS, ini=INI + "\n[tracing]\nendpoint =\n")
    assert 200 == server.get("/shop").status_code
