"""The base class of plugins."""

from plugincore._core import BasePlugin, Counter, Gauge, Histogram, Metrics

__all__ = ["BasePlugin", "Counter", "Gauge", "Histogram", "Metrics"]
