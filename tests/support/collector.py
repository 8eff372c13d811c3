"""A collector of spans in the test: takes OTLP over HTTP, and decodes it by the messages of OpenTelemetry's package."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Message
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from support.wait import wait_until

#: What an attribute may be.
Value = str | int | list[str]


def _value(value: AnyValue) -> Value:
    if value.HasField("array_value"):
        return [one.string_value for one in value.array_value.values]
    return value.int_value if value.HasField("int_value") else value.string_value


def _attributes(pairs: list[KeyValue]) -> dict[str, Value]:
    found = {pair.key: _value(pair.value) for pair in pairs}
    assert len(found) == len(pairs), "an attribute occurs twice"
    return found


@dataclass
class Span:
    """A span that has been received."""

    message: Message
    resource: dict[str, Value]

    @property
    def name(self) -> str:
        """Its name."""
        return self.message.name

    @property
    def trace(self) -> str:
        """The id of its trace."""
        return self.message.trace_id.hex()

    @property
    def id(self) -> str:
        """Its own id."""
        return self.message.span_id.hex()

    @property
    def parent(self) -> str:
        """The id of its parent; empty if it has none."""
        return self.message.parent_span_id.hex()

    @property
    def attributes(self) -> dict[str, Value]:
        """What is known of it."""
        return _attributes(list(self.message.attributes))

    @property
    def is_server(self) -> bool:
        """Whether it is a request of a client."""
        return Message.SPAN_KIND_SERVER == self.message.kind

    @property
    def has_failed(self) -> bool:
        """Whether its status is an error."""
        return Status.STATUS_CODE_ERROR == self.message.status.code


@dataclass
class Collector:
    """Listens on a port of the system's choice.

    Attributes:
        status: What it answers with.
        rejected: How many spans of each request it says it has rejected.
        headers: The headers of each request.
        paths: Their paths.

    """

    status: int = 200
    rejected: int = 0
    certify: Callable[[ssl.SSLContext], None] | None = None
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    _spans: list[Span] = field(default_factory=list)

    def __enter__(self) -> Collector:
        """Listen."""
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.headers.append({name.lower(): value for name, value in self.headers.items()})
                collector.paths.append(self.path)
                if 200 == collector.status:
                    collector.take(body)
                response = ExportTraceServiceResponse()
                if collector.rejected:
                    response.partial_success.rejected_spans = collector.rejected
                answer = response.SerializeToString()
                self.send_response(collector.status)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if self.certify:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.certify(context)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def address(self) -> str:
        """Where it listens."""
        scheme = "https" if self.certify else "http"
        host = "localhost" if self.certify else "127.0.0.1"
        return f"{scheme}://{host}:{self._server.server_port}"

    def take(self, body: bytes) -> None:
        """Keep what a request has."""
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            attributes = _attributes(list(resource.resource.attributes))
            for scope in resource.scope_spans:
                self._spans += [Span(span, attributes) for span in scope.spans]

    def spans(self) -> list[Span]:
        """Return all that have come so far."""
        return list(self._spans)

    def of(self, trace: str, number: int = 1) -> list[Span]:
        """Wait for so many spans of a trace."""

        def found() -> list[Span]:
            spans = [span for span in self._spans if span.trace == trace]
            return spans if len(spans) >= number else []

        return wait_until(found, lambda: [(span.name, span.trace) for span in self._spans])

    def named(self, name: str) -> list[Span]:
        """Wait for spans of that name."""
        return wait_until(lambda: [span for span in self._spans if span.name == name], lambda: self._spans)
