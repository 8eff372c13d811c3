"""Load, reload and remove plugins from Python code, without a server."""

from plugincore._core import PluginManager

__all__ = ["PluginManager"]
