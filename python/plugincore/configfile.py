"""The configuration for plugins: sections and values as items or attributes.

``config.paths.plugins`` and ``config["paths"]["plugins"]`` are the same. The server's own parser reads the file, so
types and references work as described in ``docs/configuration.md``.
"""

from __future__ import annotations

import builtins
import configparser
import keyword
import os
from collections import UserDict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, KeysView, Mapping

__all__ = ["Config", "ConfigError", "masterConfig", "refusal"]


class ConfigError(configparser.Error, ValueError):
    """An ini file that cannot be used; the message lists every error with file, line and remedy.

    It is a ``configparser.Error``, which malformed files and wrong references used to raise, and a ``ValueError``,
    which invalid ``int:`` and ``float:`` values used to raise.
    """


class Config(UserDict[str, Any]):
    """A dict whose items are attributes too; the sections of a file are ``Config`` objects inside it.

    >>> config = Config(items={"shop": Config(items={"size": 3})})
    >>> config.shop.size, config["shop"]["size"], "shop" in config, config.shop.get("colour", "red")
    (3, 3, True, 'red')
    >>> config.merge(Config(items={"shop": Config(items={"size": 5, "colour": "blue"})}), overwrite=False)
    >>> dict(config.shop)
    {'size': 3, 'colour': 'blue'}

    Args:
        file: Path of an ini file. A missing file gives an empty ``Config``.
        items: Keys and values instead of a file; if both are given, non-empty items win.
        env_override: Let the environment variable ``[PREFIX_][SECTION_]KEY`` replace the value of an existing key.
        env_prefix: The first part of the names of these variables.
        section_name: The name of the section to which ``items`` belong.
        top_config: The ``Config`` that contains this one as a section.

    Raises:
        AttributeError: Neither ``file`` nor ``items`` is given, or a name is not allowed (see :func:`refusal`).
        ConfigError: The file is malformed, or a value in it is invalid.

    """

    top_config: Config | None

    def __init__(
        self,
        *,
        file: str | bytes | os.PathLike[str] | None = None,
        items: Mapping[str, Any] | None = None,
        env_override: bool = False,
        env_prefix: str | None = None,
        section_name: str | None = None,
        top_config: Config | None = None,
    ) -> None:
        """Read a file, or take items; a top-level ``Config`` becomes :data:`masterConfig`."""
        super().__init__()
        if not items and file:
            from plugincore._core import read_ini

            self._take_sections(read_ini(os.fsdecode(file), bool(env_override), env_prefix))
            _set_master(self)
        elif items is not None:
            self.top_config = top_config
            prefix = "".join(f"{part}_" for part in (env_prefix, section_name) if part)
            for key, value in items.items():
                _check_text(key)
                _accept(section_name, key)
                if env_override:
                    value = os.environ.get(f"{prefix}{key}".upper(), value)
                self.data[key] = value
            if top_config is None:
                _set_master(self)
        else:
            raise AttributeError("Config needs file=<path> or items=<dict>")

    @classmethod
    def _from_sections(cls, sections: Mapping[str, Mapping[str, Any]]) -> Config:
        """Return the top-level ``Config`` of a file that the server has read, but not yet accepted."""
        config = cls.__new__(cls)
        super(Config, config).__init__()
        config._take_sections(sections)
        return config

    def _take_sections(self, sections: Mapping[str, Mapping[str, Any]]) -> None:
        self.top_config = self
        for name, items in sections.items():
            _accept(None, name)
            self.data[name] = Config(items=items, section_name=name, top_config=self)

    @property
    def _keys(self) -> KeysView[str]:
        """The keys, in order."""
        return self.data.keys()

    def merge(self, other: Config, overwrite: bool = True) -> None:
        """Copy the values of ``other``, section by section.

        Args:
            other: The source of the values.
            overwrite: Whether existing values are replaced.

        """
        for key, theirs in other.data.items():
            ours = self.data.get(key)
            if isinstance(ours, Config) and isinstance(theirs, Config):
                ours.merge(theirs, overwrite=overwrite)
            elif overwrite or key not in self.data:
                self[key] = theirs

    def __setitem__(self, key: str, item: Any) -> None:
        """Set an item, which is also an attribute."""
        _check_text(key)
        if key in _CLASS_NAMES:
            raise AttributeError(f"{key!r} is an attribute of Config and cannot be a key")
        super().__setitem__(key, item)

    def __getattr__(self, name: str) -> Any:
        """Return an item by attribute access."""
        # Without this check, copying and unpickling would read `data` of an object that does not have it yet.
        if name not in _CLASS_NAMES:
            try:
                return self.data[name]
            except KeyError:
                pass
        raise AttributeError(f"the configuration has no {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        """Set the item of this name; attributes of the object itself stay attributes."""
        if name in _CLASS_NAMES:
            super().__setattr__(name, value)
        else:
            self[name] = value

    def __delattr__(self, name: str) -> None:
        """Delete the item of this name."""
        if name in self.data:
            del self.data[name]
        else:
            super().__delattr__(name)

    def __dir__(self) -> Iterable[str]:
        """Return the attributes, including the items."""
        return [*super().__dir__(), *self.data]


_CLASS_NAMES = frozenset(dir(Config)) | {"data", "top_config", "self"}
"""Names of attributes of the object itself, which therefore cannot be keys."""

masterConfig: Config | dict[str, Any] = {}  # noqa: N816 - the name that plugins import
"""The last top-level ``Config``; read it as ``configfile.masterConfig``.

The server's own ``Config`` is stored here when the server begins to use it, and not if a reload rejects it.
"""


#: Keys of the server's own sections that are allowed although they are names of builtins.
_OWN_NAMES = frozenset({("log", "format"), ("access_log", "format")})


def refusal(section: str, key: str | None = None) -> str | None:
    """Return why a name of a section or key is not allowed, or None if it is.

    Names must be usable as attributes and must not hide other names. Therefore Python's keywords and builtins, the
    attributes of ``Config``, and keys that do not begin with a letter are not allowed; ``format`` is, in the server's
    own sections.

    >>> refusal("paths")
    >>> refusal("print")
    "'print' is a Python builtin and cannot be a name here"
    >>> refusal("log", "format")
    >>> refusal("shop", "1st")
    "'1st' does not begin with a letter"

    Args:
        section: The name of the section.
        key: The name of a key in it; without it, the name of the section is checked.

    """
    name = section if key is None else key
    if (section.lower(), key) in _OWN_NAMES:
        return None
    if key is not None and not key[:1].isalpha():
        return f"{key!r} does not begin with a letter"
    for kind, names in (
        ("a Python keyword", keyword.kwlist),
        ("a Python builtin", dir(builtins)),
        ("an attribute of Config", _CLASS_NAMES),
    ):
        if name in names:
            return f"{name!r} is {kind} and cannot be a name here"
    return None


def _check_text(key: object) -> None:
    """Raise TypeError for a key that cannot be the name of an attribute."""
    if not isinstance(key, str):
        raise TypeError(f"a Config key must be a string, not {type(key).__name__}")


def _accept(section: str | None, name: str) -> None:
    """Raise AttributeError for a name that is not allowed; names of sections need not begin with a letter."""
    _check_text(name)
    why = refusal(name) if section is None else refusal(section, name)
    if why:
        raise AttributeError(f"[{section}] {why}" if section else why)


def _set_master(config: Config) -> None:
    global masterConfig
    masterConfig = config
