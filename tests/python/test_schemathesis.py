"""What a server says of its plugins holds: schemathesis makes requests of all kinds by its description."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from support.server import Launch

PLUGINS = '''
from dataclasses import dataclass, field
from datetime import date
from enum import Enum
from typing import Annotated, Any, Literal, TypedDict
from uuid import UUID

from msgspec import Meta
from plugincore.baseplugin import BasePlugin


class Unit(Enum):
    CELSIUS = "celsius"
    KELVIN = "kelvin"


class Weather(TypedDict):
    city: str
    days: int
    unit: Literal["celsius", "kelvin"]


class Forecast(BasePlugin):
    """Forecasts for places."""

    http_methods = ("GET", "POST", "DELETE")

    async def request_handler(
        self, *, city: str, days: Annotated[int, Meta(ge=1, le=14)] = 3, unit: Unit = Unit.CELSIUS, **data: Any
    ) -> tuple[int, Weather]:
        """Tell the weather."""
        assert type(days) is int
        return 200, {"city": city, "days": days, "unit": unit.value}


@dataclass
class Line:
    item: UUID
    amount: Annotated[int, Meta(ge=1, le=1000)] = 1


@dataclass
class Order:
    lines: Annotated[list[Line], Meta(max_length=5)]
    day: date | None = None
    notes: list[str] = field(default_factory=list)


class Shop(BasePlugin):
    http_methods = ("POST", "PUT")

    def request_handler(self, *, order: Order, express: bool = False, **data: Any) -> tuple[int, dict[str, int]]:
        assert all(isinstance(line, Line) and isinstance(line.item, UUID) for line in order.lines)
        assert order.day is None or isinstance(order.day, date)
        return 200, {"amount": sum(line.amount for line in order.lines)}


class Old(BasePlugin):
    async def request_handler(self, **data):
        return 200, {"variables": len(data)}
'''
KEYED = """
from plugincore.baseplugin import BasePlugin

class Keyed(BasePlugin):
    async def request_handler(self, *, number: float = 0.5, **data) -> tuple[int, dict[str, float]]:
        return 200, {"number": number}
"""
KEY = "a-key-of-enough-letters"


@pytest.mark.timeout(240)
def test_requests_by_the_description_get_what_it_says(launch: Launch, tmp_path: Path) -> None:
    """Right ones an answer of the described form, wrong ones a refusal, and none a 500."""
    more = f"[plugin_parms]\nkeyed = auth_type=plugin&apikey={KEY}\n[openapi]\npublic = true\n"
    server = launch({"plugins": PLUGINS, "keyed": KEYED}, ini_more=more)
    program = Path(sys.executable).parent / "schemathesis"
    arguments = ["--header", f"X-Custom-Auth: {KEY}", "--max-examples", "25", "--seed", "1", "--no-color"]
    # Of several keys in a request the first way counts: with the right one in the header, others may be wrong.
    arguments += ["--exclude-checks", "ignored_auth"]
    run = subprocess.run(
        [program, "run", f"{server.base_url}/-/openapi.json", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=220,
        check=False,
    )
    assert 0 == run.returncode, run.stdout + run.stderr
    assert not [line for line in server.lines if "exception" in line.lower()]
