"""Host Python plugins behind a Rust HTTP server.

A plugin is a file with a class derived from :class:`plugincore.baseplugin.BasePlugin`; every such file in the
configured folder becomes a JSON endpoint. Run the server with the command ``plugincore`` (or ``pserve``), or with
``python -m plugincore``.

The compiled half of the package is ``plugincore._core``; import its names from the modules here.
"""

from typing import TYPE_CHECKING

from plugincore._core import FileField, MultiDict, Request, RequestHeaders, __version__

if TYPE_CHECKING:
    from plugincore.responses import HTTPError, Response
else:

    def __getattr__(name: str) -> object:
        """Import classes of `plugincore.responses` when they are asked for: pytest imports this package at each run."""
        if name not in ("HTTPError", "Response"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from plugincore import responses

        return getattr(responses, name)


__all__ = ["FileField", "HTTPError", "MultiDict", "Request", "RequestHeaders", "Response", "__version__"]
