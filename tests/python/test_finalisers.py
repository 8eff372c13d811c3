"""What Python runs of its own accord: finalisers, callbacks of weak references, the garbage collector at any moment."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import pytest

from support.server import Launch, Server, serving
from support.wait import TIMEOUT

CYCLES = """
import asyncio, gc, weakref
from plugincore.baseplugin import BasePlugin

def wake(future):
    if not future.done():
        future.set_result("woken")

class Cycle:
    def __init__(self):
        self.me = self

class Finalised(Cycle):
    def __init__(self, future):
        super().__init__()
        self.future = future

    def __del__(self):
        wake(self.future)

class Waiting(BasePlugin):
    kept = []
    threshold = 0

    async def request_handler(self, **data):
        way, _, threshold = data["subpath"].partition("/")
        future = asyncio.get_running_loop().create_future()
        gc.collect()
        gc.freeze()
        if way == "finaliser":
            Finalised(future)
        else:
            self.kept.append(weakref.ref(Cycle(), lambda _: wake(future)))
        # So that the collector comes at another place with each: while a task is made, too.
        Waiting.threshold = int(threshold)
        gc.set_threshold(self.threshold)
        answer = await future
        gc.set_threshold(700)
        return 200, answer

class Constant(BasePlugin):
    async def request_handler(self, **data):
        return 200, "constant"

class Collected(BasePlugin):
    async def request_handler(self, **data):
        async with asyncio.timeout(10):
            while Waiting.threshold != int(data["subpath"]):
                await asyncio.sleep(0.001)
        gc.collect()
        return 200, "collected"
"""


@pytest.mark.parametrize("event_loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("way", ["finaliser", "weakref"])
def test_what_a_finaliser_asks_of_the_loop_is_done_whenever_it_runs(launch: Launch, way: str, event_loop: str) -> None:
    """A future that a finaliser sets wakes who waits for it, and no other request is cut off."""
    server = launch({"cycles": CYCLES}, ini_more=f"[server]\nevent_loop = {event_loop}\n")
    with ThreadPoolExecutor() as pool, server.client() as waiting, server.client() as client:
        for threshold in range(4, 16):
            answer = pool.submit(waiting.get, f"/waiting/{way}/{threshold}")
            for _ in range(20):
                assert "constant" == client.get("/constant").text
            # For a threshold that was not reached; what was lost before stays lost.
            assert 200 == client.get(f"/collected/{threshold}").status_code
            assert "woken" == answer.result().text
    assert 0 == server.stop()


EVERYTHING = """
import asyncio, gc, weakref
from aiohttp import web
from plugincore.baseplugin import BasePlugin
from plugincore.responses import EventSource, StreamingResponse

class Touching:
    '''Looks at everything there is whenever the collector runs, which is whenever something is made.'''

    count = 0
    loop = None
    seen = weakref.WeakSet()
    errors = []

    def __init__(self):
        self.me = self

    def __del__(self):
        Touching.count += 1
        try:
            for request in list(self.seen):
                request.headers.get("Host"), request.query.get("x"), request.cookies, request.version
                request.get("x"), request.raw_path, request.url, request.text().close()
            for task in asyncio.all_tasks(self.loop):
                coroutine = task.get_coro()
                getattr(coroutine, "cr_frame", None), getattr(coroutine, "_plugincore_request", None)
            if Touching.count % 20 == 0:  # what is asked of the loop makes objects, too
                asyncio.Task(asyncio.sleep(0), loop=self.loop)
        except Exception as error:
            self.errors.append(repr(error))
        finally:
            Touching()

async def events():
    yield "first"
    await asyncio.sleep(0.01)
    yield "second"
    await asyncio.Event().wait()

class Everything(BasePlugin):
    http_methods = ("GET", "POST")

    async def request_handler(self, **data):
        request = data["request"]
        Touching.seen.add(request)
        return await getattr(self, data["subpath"])(request)

    async def begin(self, request):
        Touching.loop = asyncio.get_running_loop()
        gc.collect()
        gc.freeze()
        gc.set_threshold(1, 2, 2)
        Touching()
        return 200, "begun"

    async def end(self, request):
        gc.set_threshold(700, 10, 10)
        return {"touched": Touching.count > 100, "errors": Touching.errors}

    async def events(self, request):
        return EventSource(events(), ping=0.001)

    async def stream(self, request):
        return StreamingResponse(iter(["a", "b"]), content_length=2)

    async def value(self, request):
        await asyncio.sleep(0)
        return {"form": dict(await request.post())}

    async def constant(self, request):
        return {"constant": [1, 2.5]}

    async def socket(self, request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data)
        return socket

class Plain(BasePlugin):
    def request_handler(self, **data):
        return 200, [data["subpath"]]
"""


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve plugins under a collector that runs whenever an object is made."""
    with serving(tmp_path_factory.mktemp("everything"), {"everything": EVERYTHING}) as server:
        yield server
        assert 0 == server.stop()


def test_all_kinds_of_answers_are_given_while_the_collector_runs_all_the_time(everything: Server) -> None:
    """Nothing waits for itself, whatever finalisers look at: streams, event streams, WebSockets, plain requests."""

    async def visit(session: aiohttp.ClientSession) -> None:
        async with session.get("/everything/events") as answer:
            assert b"data: first\n" == await answer.content.readuntil(b"\n")
            await answer.content.readuntil(b": ping\n")
        async with session.ws_connect("/everything/socket") as socket:
            await socket.send_str("echo")
            assert "echo" == await socket.receive_str()
        async with session.get("/everything/stream") as answer:
            assert "ab" == await answer.text()
        async with session.post("/everything/value", data={"a": "1"}) as answer:
            assert {"form": {"a": "1"}} == await answer.json()
        async with session.get("/everything/constant") as answer:
            assert {"constant": [1, 2.5]} == await answer.json()
        async with session.get("/plain/x") as answer:
            assert ["x"] == await answer.json()

    async def visitors() -> None:
        timeout = aiohttp.ClientTimeout(TIMEOUT)
        async with aiohttp.ClientSession(everything.base_url, timeout=timeout) as session:
            await asyncio.gather(*(visit(session) for _ in range(6)))

    assert "begun" == everything.get("/everything/begin").text
    asyncio.run(visitors())
    assert {"touched": True, "errors": []} == everything.get("/everything/end").json()
    assert "ERROR" not in everything.log


def test_a_channel_may_be_collected_at_the_very_moment_when_another_is_opened(launch: Launch) -> None:
    """As happens sooner or later to who serves many streams: the collector runs when the next channel is made."""
    source = """
        import gc
        from plugincore.baseplugin import BasePlugin

        class Cycle:
            def __init__(self, channel):
                self.me, self.channel = self, channel

        class Opening(BasePlugin):
            def request_handler(self, request, **data):
                for threshold in range(1, 40):
                    gc.disable()
                    Cycle(request._open())
                    gc.set_threshold(threshold % 10 + 1)
                    kept = [[] for _ in range(threshold % 7)]
                    gc.enable()
                    request._open()
                return 200, "opened"
    """
    server = launch({"opening": source})
    assert "opened" == server.get("/opening").text


def test_an_event_stream_leaves_no_garbage_cycle(launch: Launch) -> None:
    """What sent it is free as soon as its client is gone, without the collector."""
    source = """
        import asyncio, gc, weakref
        from plugincore import _streams
        from plugincore.baseplugin import BasePlugin
        from plugincore.responses import EventSource

        gc.disable()
        senders = weakref.WeakSet()
        made = _streams._Sender.__init__
        _streams._Sender.__init__ = lambda self, *args, **options: (senders.add(self), made(self, *args, **options))[1]

        async def events(failing):
            yield "first"
            if failing:
                raise ValueError("on purpose")
            await asyncio.Event().wait()

        class Events(BasePlugin):
            async def request_handler(self, **data):
                return EventSource(events(data["subpath"]), ping=0.001)

        class Left(BasePlugin):
            async def request_handler(self, **data):
                async with asyncio.timeout(5):
                    while senders:
                        await asyncio.sleep(0.001)
                return 200, len(senders)
    """
    server = launch({"events": source})
    with server.client() as client:
        for path in ("/events", "/events", "/events/failing"):
            with client.stream("GET", path) as answer:
                assert "data: first" == next(answer.iter_lines())
    assert "0" == server.get("/left").text
