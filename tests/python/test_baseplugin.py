"""`plugincore.baseplugin.BasePlugin`: construction, the id, and a class like any other."""

from __future__ import annotations

import abc
import copy
import gc
import inspect
import pickle
import weakref
from typing import Any, Generic, TypeVar

import pytest

from plugincore.baseplugin import BasePlugin
from plugincore.configfile import Config
from plugincore.logjam import LogJam
from shop import ARGS, KEY, Shop, ask, make
from support.server import Launch

T = TypeVar("T")


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
    """`super().__init__()` without the arguments is an error that names the fix."""
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
    """The document's second example does, and `hasattr(self, "log")` shows whether super().__init__ has run."""
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
    """`_get_plugin_id()` returns the current one."""
    plugin = make()
    plugin._plugin_id = "market"
    assert "market" == plugin._get_plugin_id()


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
         "    def request_handler(self, **data): return 'checked'", 403,
         '{"error": "unauthorized", "code": "unauthorized", "request_id": "mine"}'),
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
    answer = server.get(f"/{path}?n=1", headers={"X-Request-Id": "mine"})
    assert (status, text) == (answer.status_code, answer.text)
