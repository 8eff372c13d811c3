"""The pytest fixture ``plugin_client``, which pytest finds by itself if plugincore is installed.

Only pytest imports this module, so the package does not depend on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from typing import Unpack

    from plugincore.testing import ClientOptions, Plugin, SyncPluginClient

__all__ = ["OpenClient", "plugin_client"]


class OpenClient(Protocol):
    """What the fixture returns, to annotate it with."""

    def __call__(self, plugin: Plugin, **options: Unpack[ClientOptions]) -> SyncPluginClient:
        """Open a client for ``plugin``; the options are those of ``PluginClient``."""


@pytest.fixture
def plugin_client() -> Iterator[OpenClient]:
    """Open clients for plugins: ``plugin_client(MyPlugin, …)``, with the arguments of ``PluginClient``.

    Each is a :class:`plugincore.testing.SyncPluginClient`, open until the test ends.
    """
    # Not at the top: pytest imports this module in every run, and most runs do not test a plugin.
    from plugincore.testing import SyncPluginClient

    with ExitStack() as clients:

        def opened(plugin: Plugin, **options: Unpack[ClientOptions]) -> SyncPluginClient:
            return clients.enter_context(SyncPluginClient(plugin, **options))

        yield opened
