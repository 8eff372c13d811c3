"""Host Python plugins behind a Rust HTTP server.

A plugin is a file with a class derived from :class:`plugincore.baseplugin.BasePlugin`; every such file in the
configured folder becomes a JSON endpoint. Run the server with the command ``plugincore`` (or ``pserve``), or with
``python -m plugincore``.

The compiled half of the package is ``plugincore._core``; import its names from the modules here.
"""

from plugincore._core import FileField, MultiDict, Request, RequestHeaders, __version__

__all__ = ["FileField", "MultiDict", "Request", "RequestHeaders", "__version__"]
