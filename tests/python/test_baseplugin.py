"""`plugincore.baseplugin.BasePlugin`: what a plugin finds on itself, with a server and without one."""

from __future__ import annotations

import abc
import argparse
import asyncio
import copy
import gc
import inspect
import json
import pickle
import weakref
from types import SimpleNamespace
from typing import Any, Generic, TypeVar

import pytest
from aiohttp import web

from conftest import Launch
from plugincore import RequestHeaders
from plugincore.baseplugin import BasePlugin
from plugincore.configfile import Config
from plugincore.logjam import LogJam
from plugincore.responses import Response, StreamingResponse

T = TypeVar("T")

ARGS = argparse.Namespace(ini_file="server.ini", log=None, level="ERROR")
UNAUTHORIZED = (403, {"error": "unauthorized"})


class Shop(BasePlugin):
    """A plugin as one would write it."""

    async def request_handler(self, **data: Any) -> tuple[int, dict[str, Any]]:
        """Answer with what was asked for."""
        return 200, {"item": data.get("item"), "ip": data.get("client_ip")}


def make(kind: type[BasePlugin] = Shop, **kwargs: Any) -> Any:
    """Construct a plugin by hand, as a plugin's own tests do."""
    return kind(**{"prog_args": ARGS, "config": Config(items={"auth": {"apikey": "host-key"}}), **kwargs})


def ask(plugin: Any, **data: Any) -> Any:
    """Await `handle_request` in plain asyncio; return status and value of its response."""
    response = asyncio.run(plugin.handle_request(**data))
    return response.status, json.loads(response.body)


# --- construction ---------------------------------------------------------------------------------------------------


def test_a_plugin_can_be_constructed_without_a_server() -> None:
    """The documented attributes are there after `super().__init__(**kwargs)`, private ones included."""
    config = Config(items={})
    plugin = make(config=config, colour="red")
    assert (config, "shop", None, None) == (plugin.config, plugin._plugin_id, plugin._auth_type, plugin._apikey)
    assert isinstance(plugin.log, LogJam)
    assert "shop" == plugin.log.name
    assert {"config": config, "prog_args": ARGS, "colour": "red", "log": plugin.log} == plugin.args
    assert {"_plugin_id", "_auth_type", "_apikey", "config", "log", "args"} == set(vars(plugin))


def test_args_is_a_copy_in_which_log_is_the_plugins_own() -> None:
    """Changing `args` changes nothing of the host's, and the server's log is not in it."""
    server_log = LogJam(name="server", level="ERROR")
    kwargs = {"prog_args": ARGS, "config": None, "log": server_log}
    plugin = Shop(**kwargs)
    plugin.args["more"] = 1
    assert {"prog_args": ARGS, "config": None, "log": server_log} == kwargs
    assert plugin.log is plugin.args["log"] is not server_log


@pytest.mark.parametrize("kwargs", [{}, {"prog_args": None}], ids=["missing", "none"])
def test_forgetting_to_hand_on_the_arguments_says_what_to_write(kwargs: dict[str, Any]) -> None:
    """`super().__init__()` without the arguments is told with the remedy."""
    with pytest.raises(ValueError, match=r"no args were passed: .*super\(\).__init__\(\*\*kwargs\)"):
        BasePlugin(**kwargs)


def test_positional_arguments_are_refused() -> None:
    """The constructor takes keywords only."""
    with pytest.raises(TypeError, match="positional"):
        BasePlugin(ARGS)  # type: ignore[call-arg]


def test_a_subclass_may_take_positional_arguments_of_its_own() -> None:
    """What a subclass does with its own arguments is its business."""

    class Sized(BasePlugin):
        def __init__(self, size: int, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.size = size

    assert 3 == Sized(3, prog_args=ARGS).size


def test_attributes_may_be_set_before_super_init() -> None:
    """The document's second example does, and `hasattr(self, "log")` tells whether super().__init__ has run."""
    seen: list[bool] = []

    class Early(BasePlugin):
        def __init__(self, **kwargs: Any) -> None:
            self.kicked = False
            self.counters: dict[str, int] = {}
            seen.extend(hasattr(self, name) for name in ("log", "config", "args", "_plugin_id"))
            super().__init__(**kwargs)
            seen.extend(hasattr(self, name) for name in ("log", "config", "args", "_plugin_id"))

    plugin = make(Early)
    assert (False, {}) == (plugin.kicked, plugin.counters)
    assert [False] * 4 + [True] * 4 == seen


# --- the id ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kwargs", "expected"),
    [({}, "shop"), ({"route_path": "a/b"}, "a/b"), ({"route_path": None}, "shop")],
    ids=["class name", "route_path", "no route_path"],
)
def test_the_id_is_the_route_path_or_the_lower_cased_class_name(kwargs: dict[str, Any], expected: str) -> None:
    """`_plugin_id`, `_get_plugin_id()` and the name in the log agree."""
    plugin = make(**kwargs)
    assert (expected, expected, expected) == (plugin._plugin_id, plugin._get_plugin_id(), plugin.log.name)


def test_the_id_can_be_set_after_super_init() -> None:
    """`_get_plugin_id()` tells what it is now."""
    plugin = make()
    plugin._plugin_id = "market"
    assert "market" == plugin._get_plugin_id()


# --- authentication -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kwargs", "auth_type", "apikey"),
    [
        ({}, None, None),
        ({"auth_type": ""}, None, None),
        ({"auth_type": "global"}, "global", "host-key"),
        ({"auth_type": "GLOBAL", "apikey": "ignored"}, "global", "host-key"),
        ({"auth_type": "plugin", "apikey": "own"}, "plugin", "own"),
        ({"auth_type": "Plugin", "apikey": 5}, "plugin", 5),
        ({"auth": "global"}, "global", "host-key"),
        ({"apikey": "unused"}, None, None),
    ],
)
def test_the_parameters_decide_whose_key_opens(kwargs: dict[str, Any], auth_type: str | None, apikey: object) -> None:
    """`auth_type` is read in any case; `auth` is understood too, as the original's documentation printed it."""
    plugin = make(**kwargs)
    assert (auth_type, apikey) == (plugin._auth_type, plugin._apikey)


@pytest.mark.parametrize(
    ("kwargs", "text"),
    [
        ({"auth_type": "global", "config": Config(items={})}, "Auth is global but no apikey in auth"),
        ({"auth_type": "global", "config": None}, "Auth is global but no apikey in auth"),
        ({"auth_type": "global", "config": Config(items={"auth": {"apikey": ""}})}, "no apikey in auth"),
        ({"auth_type": "plugin"}, "Auth is plugin but no plugin apikey"),
        ({"auth_type": "plugin", "apikey": ""}, "Auth is plugin but no plugin apikey"),
        ({"auth_type": "basic"}, '"basic"; it must be "global" .*"plugin"'),
    ],
)
def test_authentication_that_cannot_work_is_refused(kwargs: dict[str, Any], text: str) -> None:
    """A plugin that was meant to ask for a key never runs open."""
    with pytest.raises(ValueError, match=text):
        make(**kwargs)


KEY = "own"


@pytest.mark.parametrize(
    ("headers", "variables", "expected"),
    [
        ({}, {}, False),
        ({"Authorization": "Bearer own"}, {}, True),
        ({"Authorization": "bearer  own "}, {}, True),
        ({"Authorization": "Bearer other"}, {"apikey": KEY}, False),
        ({"Authorization": "Bearer "}, {"apikey": KEY}, True),
        ({"Authorization": "Basic b3du"}, {"apikey": KEY}, True),
        ({"X-Custom-Auth": " own "}, {}, True),
        ({"X-Custom-Auth": "other"}, {"apikey": KEY}, False),
        ({"X-Custom-Auth": ""}, {"apikey": KEY}, True),
        ({}, {"apikey": KEY}, True),
        ({}, {"apikey": "own "}, False),
        ({}, {"apikey": "other"}, False),
        ({}, {"apikey": ["own"]}, False),
        ({}, {"apikey": None}, False),
    ],
)
def test_the_first_key_that_is_shown_counts(headers: dict[str, str], variables: dict[str, Any], expected: bool) -> None:
    """Bearer, then X-Custom-Auth, then the variable; what is empty is not shown."""
    plugin = make(auth_type="plugin", apikey=KEY)
    assert expected is plugin._check_auth({"request_headers": headers, **variables})


def test_without_authentication_everybody_is_admitted() -> None:
    """A wrong key does not matter where none is asked for; headers need not be there."""
    assert make()._check_auth({"apikey": "any"})
    assert make()._check_auth({})


def test_the_request_headers_of_the_host_are_understood() -> None:
    """`_check_auth` gets along with the mapping that ignores case."""
    headers = RequestHeaders([("x-custom-auth", KEY)])
    assert make(auth_type="plugin", apikey=KEY)._check_auth({"request_headers": headers})


def test_attributes_set_later_are_obeyed() -> None:
    """`_auth_type` and `_apikey` may change at any time; a type without a key admits nobody."""
    plugin = make()
    plugin._auth_type = "plugin"
    assert not plugin._check_auth({"apikey": ""})
    plugin._apikey = 12
    assert plugin._check_auth({"apikey": "12"})
    plugin._auth_type = None
    assert plugin._check_auth({})


def test_attributes_that_a_class_hides_are_obeyed() -> None:
    """A property or class attribute of the subclass stands above the host's."""

    class Rotating(BasePlugin):
        _auth_type = "plugin"
        keys = ("first",)

        @property
        def _apikey(self) -> str:
            return self.keys[-1]

        @_apikey.setter
        def _apikey(self, value: object) -> None:
            pass

    plugin = make(Rotating)
    plugin._auth_type = "plugin"
    assert plugin._check_auth({"apikey": "first"})
    plugin.keys = ("first", "second")
    assert (False, True) == (plugin._check_auth({"apikey": "first"}), plugin._check_auth({"apikey": "second"}))


def test_a_key_in_the_class_is_a_default() -> None:
    """Authentication in a class body protects; parameters and the instance stand above it."""

    class InClass(BasePlugin):
        _auth_type = "plugin"
        _apikey: str | None = "class-key"

    plugin = make(InClass)
    assert (False, True) == (plugin._check_auth({}), plugin._check_auth({"apikey": "class-key"}))
    plugin._apikey = "new"
    assert (False, True) == (plugin._check_auth({"apikey": "class-key"}), plugin._check_auth({"apikey": "new"}))
    assert "class-key" == make(InClass)._apikey
    assert "host-key" == make(InClass, auth_type="global")._apikey


# --- handle_request -------------------------------------------------------------------------------------------------


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
    """Anybody can write `X-Forwarded-For`, so a bare request's header is not believed."""
    forwarded = peer("192.0.2.1", **{"X-Forwarded-For": "203.0.113.9"})
    assert "192.0.2.1" == make()._get_client_ip(forwarded)
    assert "192.0.2.2" == make()._get_client_ip(SimpleNamespace(remote="192.0.2.2"))
    nobody = SimpleNamespace(transport=SimpleNamespace(get_extra_info=lambda name: None))
    assert "unknown" == make()._get_client_ip(nobody)
    assert "unknown" == make()._get_client_ip(SimpleNamespace(transport=None))


def test_terminate_plugin_does_nothing_by_default() -> None:
    """An override may call it."""
    assert make().terminate_plugin() is None


# --- a class like any other -----------------------------------------------------------------------------------------


def test_mixins_and_abstract_bases_work_on_either_side() -> None:
    """Cooperative constructors, abstract methods, generics and properties behave as with any Python class."""

    class Counting:
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self.count = 1
            super().__init__(*args, **kwargs)

    class Abstract(BasePlugin, Generic[T], abc.ABC):
        @abc.abstractmethod
        def request_handler(self, **data: Any) -> T: ...

        @property
        def title(self) -> str:
            return self._plugin_id.title()

    class Left(Counting, Abstract[int]):
        def request_handler(self, **data: Any) -> int:
            return self.count

    class Right(BasePlugin, Counting):
        pass

    assert (1, "Left", (200, 1)) == (make(Left).count, make(Left).title, ask(make(Left)))
    assert not hasattr(make(Right), "count")
    with pytest.raises(TypeError, match="abstract"):
        make(Abstract)


def test_metaclasses_slots_and_subclass_hooks_work() -> None:
    """`__init_subclass__`, a metaclass and `__slots__` are the subclass's own business."""
    registered: list[str] = []

    class Meta(type):
        def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any) -> Any:
            registered.append(name)
            return super().__new__(mcs, name, bases, namespace, **options)

    class Registered(BasePlugin, metaclass=Meta):
        __slots__ = ("size",)
        tag = ""

        def __init_subclass__(cls, tag: str, **options: Any) -> None:
            super().__init_subclass__(**options)
            cls.tag = tag

    class Tagged(Registered, tag="t"):
        def __init__(self, **kwargs: Any) -> None:
            self.size = 3
            super().__init__(**kwargs)

    plugin = make(Tagged)
    assert (["Registered", "Tagged"], "t", 3) == (registered, plugin.tag, plugin.size)
    assert "size" not in vars(plugin)


def test_attribute_hooks_see_every_attribute() -> None:
    """`__setattr__` and `__getattr__` of a subclass work as with a Python base class."""

    class Watching(BasePlugin):
        def __init__(self, **kwargs: Any) -> None:
            object.__setattr__(self, "seen", [])
            super().__init__(**kwargs)

        def __setattr__(self, name: str, value: Any) -> None:
            self.seen.append(name)
            super().__setattr__(name, value)

        def __getattr__(self, name: str) -> str:
            return f"no {name}"

    plugin = make(Watching)
    plugin._apikey = "k"
    assert {"config", "_plugin_id", "_apikey", "_auth_type", "log", "args"} == set(plugin.seen)
    assert ("k", "no price") == (plugin._apikey, plugin.price)


def test_equality_and_hash_are_the_subclass_s() -> None:
    """A plugin with `__eq__` and therefore no hash is as good as any."""

    class Equal(BasePlugin):
        def __eq__(self, other: object) -> bool:
            return isinstance(other, Equal)

    plugin = make(Equal)
    plugin._apikey = "k"
    assert make(Equal) == plugin
    with pytest.raises(TypeError, match="unhashable"):
        hash(plugin)


class Portable(BasePlugin):
    """A plugin that can leave its log behind."""

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what belongs to the process."""
        return {name: value for name, value in vars(self).items() if name not in ("log", "args", "config")}


def test_instances_can_be_copied_and_pickled() -> None:
    """All that an instance holds is in its `__dict__`; a copy has its own key."""
    plugin = make(Portable, auth_type="plugin", apikey=KEY)
    for twin in (copy.copy(plugin), copy.deepcopy(plugin), pickle.loads(pickle.dumps(plugin))):
        assert ("plugin", KEY, "portable") == (twin._auth_type, twin._apikey, twin._plugin_id)
        assert twin._check_auth({"apikey": KEY})
        twin._apikey = "other"
        assert (False, True) == (twin._check_auth({"apikey": KEY}), plugin._check_auth({"apikey": KEY}))


def test_instances_can_be_weakly_referenced_and_are_collected() -> None:
    """Cycles through any attribute, the key included, are found; a reload must not leak the old instance."""
    plugin = make(auth_type="plugin", apikey=KEY)
    plugin.me = plugin
    plugin.callback = plugin.request_handler
    plugin._apikey = [plugin]
    watch = weakref.ref(plugin)
    del plugin
    gc.collect()
    assert watch() is None


def test_the_class_introduces_itself() -> None:
    """`help()` and editors see names, module and text."""
    assert ("plugincore.baseplugin", "BasePlugin") == (BasePlugin.__module__, BasePlugin.__qualname__)
    assert "(**kwargs)" == str(inspect.signature(BasePlugin))
    assert "The base class of plugins." in (BasePlugin.__doc__ or "")
    for name in ("handle_request", "terminate_plugin", "_check_auth", "_get_plugin_id", "_get_client_ip"):
        assert inspect.getdoc(getattr(BasePlugin, name))
        assert "self" == next(iter(inspect.signature(getattr(BasePlugin, name)).parameters))


# --- in the server --------------------------------------------------------------------------------------------------

INSPECT = """
    from plugincore.baseplugin import BasePlugin

    KEPT = {}

    class Inspect(BasePlugin):
        def __init__(self, **kwargs):
            KEPT["init"] = dict(kwargs)
            super().__init__(**kwargs)

        async def initialize(self, **kwargs):
            KEPT["initialize"] = kwargs

        async def request_handler(self, **data):
            kwargs = KEPT["init"]
            return 200, {
                "same": kwargs == KEPT["initialize"],
                "names": sorted(kwargs),
                "types": {name: type(value).__name__ for name, value in sorted(kwargs.items())},
                "texts": {name: value for name, value in kwargs.items() if isinstance(value, (str, int, list))},
                "args": vars(kwargs["prog_args"]) if hasattr(kwargs["prog_args"], "level") else kwargs["prog_args"],
                "own log": self.log is self.args["log"] is not kwargs["log"],
                "id": self._plugin_id,
            }
"""


def test_the_server_hands_the_documented_arguments_to_init_and_initialize(launch: Launch) -> None:
    """Host objects and the plugin's parameters, as text, for both methods alike."""
    server = launch({"inspect": INSPECT}, ini_more="[plugin_parms]\ninspect = colour=red&colour=blue&size=3&empty=")
    answer = server.get("/inspect").json()
    names = ["args", "colour", "config", "log", "prog_args", "size", "task_callback"]
    assert (True, names, "inspect", True) == (answer["same"], answer["names"], answer["id"], answer["own log"])
    assert {"colour": "red", "size": "3"} == answer["texts"]
    assert {"ini_file": "server.ini", "log": None, "level": "DEBUG"} == answer["args"]
    kinds = {"args": "Namespace", "prog_args": "Namespace", "config": "Config", "log": "LogJam"}
    assert kinds == {name: answer["types"][name] for name in kinds}


def test_parameters_win_over_built_ins_and_the_json_file_over_everything(launch: Launch) -> None:
    """Built-ins < `[plugin_parms]` < `prog_args` and `config` < the JSON file."""
    parameters = "args=a&task_callback=t&config=c&prog_args=p&json=more.json&size=3&route_path=ini"
    server = launch(
        {"inspect": INSPECT, "more.json": '{"size": 7, "route_path": "from-json", "task_callback": [1]}'},
        ini_more=f"[plugin_parms]\ninspect = {parameters}",
    )
    answer = server.get("/from-json").json()
    expected = {
        "args": "a",
        "task_callback": [1],
        "json": "more.json",
        "size": 7,
        "route_path": "from-json",
    }
    assert expected == answer["texts"]
    assert ("Config", "Namespace") == (answer["types"]["config"], answer["types"]["prog_args"])


def test_only_classes_of_the_file_itself_are_endpoints(launch: Launch) -> None:
    """A subclass of an imported subclass is one; the imported classes are not."""
    server = launch(
        {
            "company": """
                from plugincore.baseplugin import BasePlugin

                class CompanyPlugin(BasePlugin):
                    greeting = "hello"

                    async def request_handler(self, **data):
                        return 200, {"greeting": self.greeting, "id": self._get_plugin_id()}
            """,
            "house": """
                from company import CompanyPlugin

                class House(CompanyPlugin):
                    greeting = "welcome"
            """,
        }
    )
    assert {"loaded_plugins": ["companyplugin", "house"]} == server.get("/plugins").json()
    assert {"greeting": "welcome", "id": "house"} == server.get("/house").json()


@pytest.mark.parametrize(
    ("plugin", "status", "text"),
    [
        ("def request_handler(self, **data): return 201, 'plain'", 201, "plain"),
        ("async def request_handler(self, **data): return 202, 'async'", 202, "async"),
        ("async def handle_request(self, **data): return {'whole': data['n']}", 200, '{"whole": "1"}'),
        ("async def handle_request(self, **data): return await super().handle_request(**data)\n"
         "    async def request_handler(self, **data): return 203, 'through'", 203, "through"),
        ("def _check_auth(self, data): return data['n'] == '1'\n"
         "    def request_handler(self, **data): return 'checked'", 200, "checked"),
        ("def _check_auth(self, data): return False\n"
         "    def request_handler(self, **data): return 'checked'", 403, '{"error": "unauthorized"}'),
        ("def _get_client_ip(self, request): return 'me'\n"
         "    def request_handler(self, **data): return data['client_ip']", 200, "me"),
        ("def _get_client_ip(self, request): return 'me'\n"
         "    async def handle_request(self, **data): return await super().handle_request(**data)\n"
         "    def request_handler(self, **data): return data['client_ip']", 200, "me"),
        ("def _get_plugin_id(self): return 'own'\n"
         "    def request_handler(self, **data): return self._plugin_id", 200, "p"),
        ("@staticmethod\n    def request_handler(**data): return data['n']", 200, "1"),
        ("@classmethod\n    async def request_handler(cls, **data): return cls.__name__", 200, "P"),
        ("class Handler:\n        def __call__(self, **data): return 'callable'\n"
         "    request_handler = Handler()", 200, "callable"),
    ],
    ids=[
        "plain", "async", "handle_request", "handle_request through super", "_check_auth yes", "_check_auth no",
        "_get_client_ip", "_get_client_ip through super", "_get_plugin_id", "staticmethod", "classmethod",
        "callable object",
    ],
)  # fmt: skip
def test_any_method_can_be_overloaded(launch: Launch, plugin: str, status: int, text: str) -> None:
    """Whatever a subclass redefines is what the server uses."""
    source = f"from plugincore.baseplugin import BasePlugin\n\nclass P(BasePlugin):\n    {plugin}\n"
    server = launch({"p": source})
    path = server.get("/plugins").json()["loaded_plugins"][0]
    answer = server.get(f"/{path}?n=1")
    assert (status, text) == (answer.status_code, answer.text)


LIVE_KEY = """
    from plugincore.baseplugin import BasePlugin

    class Lock(BasePlugin):
        async def initialize(self, **kwargs):
            self._auth_type, self._apikey = "plugin", "first"

        def request_handler(self, **data):
            self._apikey = data.get("next", self._apikey)
            return 200, {"key": "ok"}

    class Property(BasePlugin):
        current = "first"

        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self._auth_type = "plugin"

        @property
        def _apikey(self):
            return self.current

        @_apikey.setter
        def _apikey(self, value):
            pass

        def request_handler(self, **data):
            self.current = data.get("next", self.current)
            return 200, {"key": "ok"}
"""


@pytest.mark.parametrize("path", ["/lock", "/property"])
def test_a_key_that_the_plugin_changes_counts_from_then_on(launch: Launch, path: str) -> None:
    """An attribute is obeyed natively, a property of the plugin's own by asking it."""
    server = launch({"lock": LIVE_KEY})
    statuses = [
        server.get(path, params=parameters).status_code
        for parameters in (
            {},
            {"apikey": "first", "next": "second"},
            {"apikey": "first"},
            {"apikey": "second"},
        )
    ]
    assert [403, 200, 403, 200] == statuses
