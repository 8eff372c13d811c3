"""The base class of plugins."""

from plugincore._core import BasePlugin

__all__ = ["BasePlugin"]
