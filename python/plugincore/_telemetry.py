"""Puts the trace of a request where ``opentelemetry`` looks for it; imported once a plugin has imported that."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry import context, trace


def attach(trace_id: int, span_id: int, flags: int, states: Sequence[str]) -> None:
    """Make the request the current span of the current context: what is not recorded, but passed on."""
    span = trace.SpanContext(
        trace_id, span_id, True, trace.TraceFlags(flags), trace.TraceState.from_header(list(states))
    )
    context.attach(trace.set_span_in_context(trace.NonRecordingSpan(span)))
