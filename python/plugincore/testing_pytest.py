"""The pytest fixture ``plugin_client``, which pytest finds by itself if plugincore is installed.

Only pytest imports this module, so the package does not depend on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from plugincore.testing import Plugin, SyncPluginClient

__all__ = ["plugin_client"]


@pytest.fixture
def plugin_client() -> Iterator[Callable[..., SyncPluginClient]]:
    """Open clients for plugins: ``plugin_client(MyPlugin, …)``, with the arguments of ``PluginClient``.

    Each is a :class:`plugincore.testing.SyncPluginClient`, open until the test ends.
    """
    # Not at the top: pytest imports this module in every run, and most runs do not test a plugin.
    from plugincore.testing import SyncPluginClient

    with ExitStack() as clients:

        def opened(plugin: Plugin, **options: Any) -> SyncPluginClient:
            return clients.enter_context(SyncPluginClient(plugin, **options))

        yield opened
