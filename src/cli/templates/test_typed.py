"""Tests of the plugin template; run them with pytest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from plugincore.testing import SyncPluginClient

FILE = Path(__file__).parent.parent / "plugins" / "template.py"
PARAMETERS = {
    "greeting": "Bonjour",
    #: auth
    "auth_type": "plugin",
    "apikey": "sesame",
    #: end
}
#: auth
HEADERS = {"Authorization": "Bearer sesame"}
#: end


def test_the_name_in_the_query_is_greeted(plugin_client: Callable[..., SyncPluginClient]) -> None:
    """By the greeting of the ini file."""
    #: open
    client = plugin_client(FILE, params=PARAMETERS)
    #: end
    #: auth
    client = plugin_client(FILE, params=PARAMETERS, headers=HEADERS)
    #: end
    answer = client.get(query={"name": "Ada", "style": "loud", "times": "2"})
    assert answer.status == 200
    assert answer.json()["message"] == "BONJOUR, ADA! BONJOUR, ADA!"
    assert answer.json()["style"] == "loud"
    refused = client.get(query={"times": "6"})
    assert refused.status == 422
    assert refused.json()["errors"][0]["pointer"] == "/times"


#: auth
def test_a_key_is_required(plugin_client: Callable[..., SyncPluginClient]) -> None:
    """Without one nothing is answered."""
    client = plugin_client(FILE, params=PARAMETERS)
    assert client.get().status == 403


#: end
#: background
def test_the_seconds_are_counted(plugin_client: Callable[..., SyncPluginClient]) -> None:
    """They begin at 0."""
    #: open
    client = plugin_client(FILE, params=PARAMETERS)
    #: end
    #: auth
    client = plugin_client(FILE, params=PARAMETERS, headers=HEADERS)
    #: end
    assert client.get().json()["ticks"] == 0


#: end
