"""The figures of `/-/metrics`, as Prometheus's own client reads them."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

from support.server import Server

#: Each figure by its name and labels.
Figures = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


def parsed(text: str) -> Figures:
    """Return the figures of a text; none may be there twice."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    figures = {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}
    assert len(samples) == len(figures)
    return figures


def read(server: Server, **options: object) -> Figures:
    """Return the figures of a server."""
    answer = server.get("/-/metrics", **options)
    assert 200 == answer.status_code, answer.text
    return parsed(answer.text)


def value(figures: Figures, name: str, **labels: str) -> float:
    """Return a figure; 0 if there is none, as for everything that has never happened."""
    return figures.get((name, frozenset(labels.items())), 0)


def increase(before: Figures, after: Figures, name: str, **labels: str) -> float:
    """Return by how much a figure has grown."""
    return value(after, name, **labels) - value(before, name, **labels)


def labelled(figures: Figures, name: str, label: str) -> set[str]:
    """Return the values that a label has in the figures of a name."""
    return {dict(labels)[label] for (found, labels) in figures if found == name}
