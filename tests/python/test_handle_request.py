"""`plugincore.baseplugin.BasePlugin`: `handle_request`, which tests and overrides call."""

from __future__ import annotations

import asyncio
import inspect
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web

from plugincore.baseplugin import BasePlugin
from plugincore.responses import Response, StreamingResponse
from shop import KEY, UNAUTHORIZED, Shop, ask, make
from support.server import Launch


def peer(address: str, **headers: str) -> SimpleNamespace:
    """Return a stand-in for a request as tests of plugins write it."""
    transport = SimpleNamespace(get_extra_info=lambda name: (address, 5000) if name == "peername" else None)
    return SimpleNamespace(headers=headers, transport=transport)


def test_handle_request_checks_the_key_and_awaits_the_handler() -> None:
    """It returns a response of what the handler returned, and gives it `client_ip`."""
    plugin = make(auth_type="plugin", apikey=KEY)
    expected = (200, {"item": "pen", "ip": "192.0.2.1"})
    assert expected == ask(plugin, request=peer("192.0.2.1"), request_headers={}, apikey=KEY, item="pen")
    assert UNAUTHORIZED == ask(plugin, request=peer("192.0.2.1"), request_headers={}, item="pen")


def test_handle_request_takes_plain_handlers_and_needs_no_request() -> None:
    """A plain `def` handler works, and a test need not make up a request."""

    class Plain(BasePlugin):
        def request_handler(self, **data: Any) -> tuple[int, list[str]]:
            return 200, sorted(data)

    assert (200, ["a"]) == ask(make(Plain), a=1)
    assert (200, ["a", "client_ip", "request"]) == ask(make(Plain), a=1, request=None)


def test_handle_request_is_awaited_like_any_coroutine() -> None:
    """It can be a task, have a time limit, be cancelled, and be awaited by an override."""

    class Waiting(BasePlugin):
        async def handle_request(self, **data: Any) -> Any:
            return "over", (await super().handle_request(**data)).text

        async def request_handler(self, **data: Any) -> int:
            try:
                await asyncio.sleep(data["seconds"])
            except asyncio.CancelledError:
                cancelled.append(True)
                raise
            return 200

    cancelled: list[bool] = []

    async def check() -> None:
        plugin = make(Waiting)
        assert ("over", "200") == await asyncio.create_task(plugin.handle_request(seconds=0))
        assert ("over", "200") == await asyncio.wait_for(plugin.handle_request(seconds=0), 10)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(plugin.handle_request(seconds=1000), 0.01)

    asyncio.run(check())
    assert [True] == cancelled
    coroutine = make().handle_request()
    assert asyncio.iscoroutine(coroutine)
    assert inspect.isawaitable(coroutine)
    coroutine.close()


def test_what_a_handler_raises_comes_out_of_handle_request() -> None:
    """The server makes an answer of it; a test sees the exception itself."""

    class Broken(BasePlugin):
        async def request_handler(self, **data: Any) -> None:
            raise LookupError("no such item")

    with pytest.raises(LookupError, match="no such item"):
        ask(make(Broken))
    with pytest.raises(AttributeError, match="request_handler"):
        ask(make(BasePlugin))


@pytest.mark.parametrize(
    ("result", "status", "content_type", "text"),
    [
        ((201, {"é": 1.5}), 201, "application/json", r'{"\u00e9": 1.5}'),
        ([1], 200, "application/json", "[1]"),
        ((404, "<p>ü"), 404, "text/html", "<p>ü"),
        (b"x", 200, "application/octet-stream", "x"),
        ((204, {"a": 1}), 204, "application/octet-stream", ""),
    ],
    ids=["dict", "list", "text", "bytes", "no content"],
)
def test_handle_request_gives_a_response_that_can_be_changed(
    result: object, status: int, content_type: str, text: str
) -> None:
    """It has what the host would have sent, and the attributes that plugins changed in pluginserver."""

    class Plain(BasePlugin):
        def request_handler(self, **data: Any) -> object:
            return result

    response = asyncio.run(make(Plain).handle_request())
    assert isinstance(response, Response)
    assert (status, content_type, text) == (response.status, response.content_type, response.text)
    response.headers["X-Mine"] = "1"
    response.set_cookie("a", "b")
    response.content_type = "text/x"
    response.text = "changed"
    assert ("1", b"changed", "text/x") == (response.headers["x-mine"], response.body, response.content_type)


def test_handle_request_passes_responses_through() -> None:
    """A response that the handler made, aiohttp's too, is the object that an override gets; the code does not count."""
    made = [Response(text="own"), web.Response(text="aiohttp"), StreamingResponse([b"x"])]

    class Plain(BasePlugin):
        def request_handler(self, **data: Any) -> object:
            return data["result"]

    plugin = make(Plain)
    for one in made:
        assert one is asyncio.run(plugin.handle_request(result=one))
        assert one is asyncio.run(plugin.handle_request(result=(404, one)))
    with pytest.raises(ValueError, match="not a whole number"):
        asyncio.run(plugin.handle_request(result=(999, "x")))


DRESSED = """
    from plugincore.baseplugin import BasePlugin

    class Dressed(BasePlugin):
        async def request_handler(self, **data):
            return 201, {"a": 1}, {"X-First": "1", "Set-Cookie": ["a=1", "b=2"]}

        async def handle_request(self, **data):
            response = await super().handle_request(**data)
            response.headers["X-Second"] = str(response.status)
            response.set_cookie("c", "3")
            if data["subpath"] == "teapot":
                response.set_status(418)
            return response
"""


def test_an_override_changes_the_answer_of_the_one_it_overloads(launch: Launch) -> None:
    """Headers, cookies and status that it sets go out beside what the handler gave."""
    server = launch({"dressed": DRESSED})
    answer = server.get("/dressed/teapot")
    assert (418, {"a": 1}, "1", "201") == (
        answer.status_code,
        answer.json(),
        answer.headers["x-first"],
        answer.headers["x-second"],
    )
    assert "application/json; charset=utf-8" == answer.headers["content-type"]
    assert ["a=1", "b=2", "c=3; Path=/"] == answer.headers.get_list("set-cookie")
    old = launch({"dressed": DRESSED}, ini_more="[compat]\nlegacy_status = bool:true\n").get("/dressed")
    assert (200, "200") == (old.status_code, old.headers["x-second"])


def test_handle_request_uses_the_overloaded_methods() -> None:
    """`_check_auth` and `_get_client_ip` of a subclass are the ones that count."""

    class Own(Shop):
        def _check_auth(self, data: dict[str, Any]) -> bool:
            return data.get("item") == "pen"

        def _get_client_ip(self, request: Any) -> str:
            return f"from {request}"

    assert (200, {"item": "pen", "ip": "from proxy"}) == ask(make(Own), request="proxy", item="pen")
    assert UNAUTHORIZED == ask(make(Own), request="proxy")


def test_the_client_is_who_the_connection_comes_from() -> None:
    """Any client can send `X-Forwarded-For`, so a bare request's header is not trusted."""
    forwarded = peer("192.0.2.1", **{"X-Forwarded-For": "203.0.113.9"})
    assert "192.0.2.1" == make()._get_client_ip(forwarded)
    assert "192.0.2.2" == make()._get_client_ip(SimpleNamespace(remote="192.0.2.2"))
    nobody = SimpleNamespace(transport=SimpleNamespace(get_extra_info=lambda name: None))
    assert "unknown" == make()._get_client_ip(nobody)
    assert "unknown" == make()._get_client_ip(SimpleNamespace(transport=None))


def test_terminate_plugin_does_nothing_by_default() -> None:
    """An override may call it."""
    assert make().terminate_plugin() is None
