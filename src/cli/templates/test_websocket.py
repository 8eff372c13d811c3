"""Tests of the plugin template; run them with pytest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from plugincore.testing import SyncPluginClient

pytest.importorskip("aiohttp", reason="the plugin needs it")

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


def test_a_plain_request_is_refused(plugin_client: Callable[..., SyncPluginClient]) -> None:
    """Only the handshake of a WebSocket is answered."""
    #: open
    client = plugin_client(FILE, params=PARAMETERS)
    #: end
    #: auth
    client = plugin_client(FILE, params=PARAMETERS, headers=HEADERS)
    #: end
    assert client.get().status == 400


#: auth
def test_a_key_is_required(plugin_client: Callable[..., SyncPluginClient]) -> None:
    """Without one nothing is answered."""
    client = plugin_client(FILE, params=PARAMETERS)
    assert client.get().status == 403


#: end
