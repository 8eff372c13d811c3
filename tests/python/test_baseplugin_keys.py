"""`plugincore.baseplugin.BasePlugin`: whose key opens a plugin, with a server and without one."""

from __future__ import annotations

from typing import Any

import pytest

from plugincore import RequestHeaders
from plugincore.baseplugin import BasePlugin
from plugincore.configfile import Config
from shop import KEY, make
from support.server import Launch


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
    """A wrong key does not matter where none is required; headers need not be there."""
    assert make()._check_auth({"apikey": "any"})
    assert make()._check_auth({})


def test_the_request_headers_of_the_host_are_understood() -> None:
    """`_check_auth` gets along with the mapping that ignores case."""
    headers = RequestHeaders([("x-custom-auth", KEY)])
    assert make(auth_type="plugin", apikey=KEY)._check_auth({"request_headers": headers})


def test_attributes_set_later_are_obeyed() -> None:
    """`_auth_type` and `_apikey` may change at any time; a type without a key admits no client."""
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
