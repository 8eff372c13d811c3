"""Modules of the plugin folder: a set of its own for each load of plugins.

Plugin files and what they import from their folder (helpers) are run once for a load and belong to it: a plugin that is
loaded anew gets new helpers, while the others go on with theirs. `sys.modules` has each of them under a private name,
``plugincore:<number>:<name>``; by its plain name it has a `ModuleProxy`, which stands for the module of whoever asks,
so that pickle, dataclasses and type hints find the classes of the load that they are used in. ``import`` statements of
plugin code get the module itself (the native ``__import__`` sees to that).

What is installed is no helper, even if it lies below the plugin folder: it is imported once, as everywhere. Caveat:
code that asks by a plain name from a thread without any plugin code on its stack gets the newest load that serves.
"""

from __future__ import annotations

import importlib
import sys
from contextvars import ContextVar
from hashlib import sha256
from importlib.abc import Loader
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    ModuleSpec,
    SourceFileLoader,
    SourcelessFileLoader,
)
from importlib.util import spec_from_file_location
from os import listdir, sep, stat, walk
from os import path as ospath
from types import FrameType, ModuleType
from typing import Any, NamedTuple, NoReturn

PREFIX = "plugincore:"
"""How private names begin; no import statement can spell it."""

_TABLES: dict[int, ModuleTable] = {}
"""The loads whose modules can be found, by number: the newest last."""

_SERVING: dict[str, tuple[ModuleTable, str]] = {}
"""The plugin files that serve: where the module of each is."""

CURRENT: ContextVar[ModuleTable | None] = ContextVar("plugincore.modules", default=None)
"""The load whose code runs, where no frame tells."""


class ModuleTable:
    """The modules of one load of plugin files from `folder`.

    `sources` that an earlier table has kept take the place of the files on disk.
    """

    _last = 0

    def __init__(self, folder: str, sources: dict[str, bytes] | None = None) -> None:
        ModuleTable._last += 1
        self.number = ModuleTable._last
        self.prefix = f"{PREFIX}{self.number}:"
        self.folder = ospath.abspath(folder)
        self.kept = sources or {}
        self.files: dict[str, str] = {}
        self.sources: dict[str, bytes] = {}
        self.on_disk: dict[str, bytes | None] = {}
        self.paths: dict[str, str] = {}
        self.imports: dict[str, set[str]] = {}
        self.missing: dict[str, set[str]] = {}
        self.plugins: set[str] = set()
        self.owners: dict[str, Any] = {}
        _TABLES[self.number] = self
        _claim(self.folder)

    def private(self, name: str) -> str:
        """Return the name of a module of this load in `sys.modules`."""
        return self.prefix + name

    def add_file(self, stem: str, file: str) -> str:
        """Announce a plugin file, and return the name of its module: `stem`, unless something else is called so."""
        for name, known in self.files.items():
            if known == file:
                return name
        name = stem if "." not in stem and _may_be_called(stem) else PREFIX + stem.replace(".", ":")
        self.files[name] = file
        return name

    def run(self, name: str) -> ModuleType:
        """Return the module called `name`, which is run unless it has been already."""
        private = self.private(name)
        module = importlib.import_module(private)
        self.settle(name)
        return sys.modules.get(private, module)

    def settle(self, name: str) -> None:
        """Take over what a module has put into `sys.modules` in its own place."""
        known = sys.modules.get(name)
        if known is not None and not _is_ours(known) and self.private(name) in sys.modules:
            sys.modules[self.private(name)] = known
            sys.modules[name] = ModuleProxy(name)

    def owns(self, name: str) -> bool:
        """Return whether `name`, without a dot, is a module of this load for its code, or is to become one."""
        if self.private(name) in sys.modules:
            return True
        if not _may_be_called(name) or self.find(name) is None:
            return False
        self._borrow(name)
        return True

    def _borrow(self, name: str) -> None:
        """Take the module of another plugin that serves, if nothing of it has changed: it has its state."""
        path = self.paths[name]
        table, served = _SERVING.get(path, (self, name))
        if table is self or path in self.files.values() or table.has_changed(served):
            return
        for known, module in list(sys.modules.items()):
            rest = known.removeprefix(table.private(served))
            if known != rest and (not rest or rest.startswith(".")):
                sys.modules[self.private(name + rest)] = module
        self.sources[path] = table.sources[path]

    def is_current(self, path: str) -> bool:
        """Return whether the file at `path` is as it was when it was run, or an earlier source in its place."""
        return _content(path) == self.on_disk.get(path, self.sources.get(path))

    def find(self, name: str, places: Any = None) -> ModuleSpec | None:
        """Return how to load the module called `name`, if it is a file of the folder, or of one of `places`."""
        file = self.files.get(name) or self._kept_file(name, places)
        if file is not None:
            package = [ospath.dirname(file)] if ospath.basename(file) == "__init__.py" else None
            return self._spec(name, file, package)
        leaf = name.rpartition(".")[2]
        for place in [self.folder] if places is None else places:
            found = _find_in(place, leaf)
            if found is None:
                continue
            if places is None and _is_installed(place, leaf, found):
                return None
            if found.is_source:
                return self._spec(name, found.file, found.folders)
            if found.file is None:
                self.paths[name] = ospath.join(place, leaf)
                _claim(self.paths[name])
                spec = ModuleSpec(self.private(name), NamespaceLoader(self, name), is_package=True)
                spec.submodule_search_locations = found.folders
                return spec
        return None

    def _kept_file(self, name: str, places: Any) -> str | None:
        leaf = name.rpartition(".")[2]
        for place in [self.folder] if places is None else places:
            for file in (ospath.join(place, leaf, "__init__.py"), ospath.join(place, f"{leaf}.py")):
                if file in self.kept:
                    return file
        return None

    def _spec(self, name: str, file: str | None, package: list[str] | None) -> ModuleSpec | None:
        if file is None:
            return None
        self.paths[name] = file
        private = self.private(name)
        loader = PluginLoader(private, file, self, name)
        for folder in package or ():
            _claim(folder)
        return spec_from_file_location(private, file, loader=loader, submodule_search_locations=package)

    def read(self, path: str) -> bytes:
        """Return the source in the file at `path`, and remember it."""
        source = self.kept.get(path)
        if source is None:
            with open(path, "rb") as file:
                source = file.read()
        else:
            self.on_disk[path] = _content(path)
        self.sources[path] = source
        return source

    def restored(self, name: str) -> ModuleTable:
        """Return a table for a load from the sources that module `name` consists of."""
        return ModuleTable(self.folder, self.files_of(name))

    def note(self, importer: str, name: str) -> None:
        """Remember that module `importer` has imported module `name`."""
        self.imports.setdefault(importer, set()).add(name)

    def note_missing(self, importer: str, name: str) -> None:
        """Remember that module `importer` has tried to import `name`, which nobody has."""
        self.missing.setdefault(importer, set()).add(name)

    def reach(self, name: str) -> set[str]:
        """Return the modules that module `name` has imported, directly or not, and itself."""
        reached: set[str] = set()
        following = [name]
        while following:
            one = following.pop()
            if one not in reached:
                reached.add(one)
                parent = one.rpartition(".")[0]
                following += [*self.imports.get(one, ()), *([parent] if parent else [])]
        return reached

    def files_of(self, name: str) -> dict[str, bytes]:
        """Return the sources that module `name` consists of, by their files."""
        paths = {self.paths.get(one) for one in self.reach(name)}
        return {path: self.sources[path] for path in sorted(path for path in paths if path) if path in self.sources}

    def has_changed(self, name: str) -> bool:
        """Return whether a file that module `name` consists of has changed, or one that it missed is there."""
        if not all(self.is_current(path) for path in self.files_of(name)):
            return True
        missed = [one for reached in self.reach(name) for one in self.missing.get(reached, ())]
        return any(_may_be_called(one) and self.find(one) is not None for one in missed)

    def digest(self, name: str, parameters: bytes) -> str:
        """Return the SHA-256 of what module `name` consists of and of its parameters, in hexadecimal digits."""
        digest = sha256(parameters)
        for path, source in self.files_of(name).items():
            shown = ospath.relpath(path, self.folder).encode("utf-8", "surrogateescape")
            digest.update(b"\0%d:%b\0%d:" % (len(shown), shown, len(source)))
            digest.update(source)
        return digest.hexdigest()

    def owner_of(self, name: str) -> Any:
        """Return the owner of the plugin file whose code module `name` is; None for a helper of several of them."""
        owner = self.owners.get(name)
        if owner is not None:
            return owner
        users = [owner for file, owner in self.owners.items() if name in self.reach(file)]
        return users[0] if len(users) == 1 else None

    def serve(self, name: str) -> None:
        """Have the module of a plugin file be the one that other plugins import."""
        self.plugins.add(name)
        if name in self.paths:
            _SERVING[self.paths[name]] = (self, name)

    def release(self, name: str) -> None:
        """Let go of a plugin file, which serves no more, and of what nothing else of this load has imported.

        Files without plugins stay until the last plugin goes that has imported them.
        """
        file = self.files.pop(name, None)
        self.plugins.discard(name)
        self.owners.pop(name, None)
        if file is not None and _SERVING.get(file, (None, ""))[0] is self:
            del _SERVING[file]
        needed = {one for root in self.plugins for one in self.reach(root)}
        for root in self.reach(name) & self.files.keys() - self.plugins - needed:
            del self.files[root]
        self._keep({one for root in self.files for one in self.reach(root)})

    def drop(self) -> None:
        """Let go of all modules."""
        for file in self.files.values():
            if _SERVING.get(file, (None, ""))[0] is self:
                del _SERVING[file]
        self.files.clear()
        self.plugins.clear()
        self.owners.clear()
        self._keep(set())
        _TABLES.pop(self.number, None)

    def _keep(self, names: set[str]) -> None:
        for known in [known for known in sys.modules if known.startswith(self.prefix)]:
            if known.removeprefix(self.prefix) not in names:
                self._forget(known.removeprefix(self.prefix))

    def _forget(self, name: str) -> None:
        del sys.modules[self.private(name)]
        proxy = sys.modules.get(name)
        if isinstance(proxy, ModuleProxy) and not any(table.private(name) in sys.modules for table in _TABLES.values()):
            del sys.modules[name]


def _content(path: str) -> bytes | None:
    """Return what is in a file; None if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return None


class PluginLoader(SourceFileLoader):
    """Runs one source file of a load, without byte code in between.

    Stale byte code is told from current one by second and size of the source only, which an edit need not change.
    """

    def __init__(self, fullname: str, path: str, table: ModuleTable, public: str) -> None:
        super().__init__(fullname, path)
        self.table = table
        self.public = public

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return a module with the plain name, and have `sys.modules` know that name."""
        return _new_module(self.public, spec, self)

    def get_filename(self, name: str | None = None) -> str:
        """Return the source file, by whatever name the module is asked for."""
        module = sys.modules.get(self.name)
        if isinstance(module, ModuleType) and module.__name__ == self.name:
            # `importlib.reload` names a module by its spec.
            module.__name__ = self.public
            module.__package__ = _package(self.public, module.__spec__)
        return str(self.path)

    def path_stats(self, path: str) -> NoReturn:
        """Refuse, so that byte code is neither read nor written."""
        raise OSError("no byte code of plugins is kept")

    def get_data(self, path: str) -> bytes:
        """Return the bytes of a file; those of the source are remembered."""
        return self.table.read(path) if path == self.path else super().get_data(path)


class NamespaceLoader(Loader):
    """Makes the module of a folder without ``__init__.py``, which runs nothing."""

    def __init__(self, table: ModuleTable, public: str) -> None:
        self.table = table
        self.public = public

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return a module with the plain name."""
        return _new_module(self.public, spec, self)

    def exec_module(self, module: ModuleType) -> None:
        """Run nothing."""


def _may_be_called(name: str) -> bool:
    """Return whether a module of plugins may have the plain name `name`, which nothing else goes by."""
    known = sys.modules.get(name)
    if known is not None and not _is_ours(known):
        return False
    for finder in sys.meta_path:
        find_spec = getattr(finder, "find_spec", None)
        spec = find_spec and find_spec(name, None)
        if spec is not None:
            return isinstance(spec.loader, _SharedLoader) or (
                spec.origin is None and _are_ours(spec.submodule_search_locations)
            )
    return True


def _is_ours(module: Any) -> bool:
    """Return whether what `sys.modules` has by a plain name comes from a plugin folder."""
    if type(module) is ModuleProxy:
        return True
    return getattr(module, "__file__", None) is None and _are_ours(getattr(module, "__path__", None))


def _are_ours(folders: Any) -> bool:
    return bool(folders) and all(ospath.dirname(folder) in _CLAIMED for folder in folders)


def _package(public: str, spec: ModuleSpec | None) -> str:
    is_package = spec is not None and spec.submodule_search_locations is not None
    return public if is_package else public.rpartition(".")[0]


def _new_module(public: str, spec: ModuleSpec, loader: Any) -> ModuleType:
    module = ModuleType(public)
    module.__package__ = _package(public, spec)
    module.__loader__ = loader
    if public not in sys.modules:
        sys.modules[public] = ModuleProxy(public)
    return module


class ModuleProxy(ModuleType):
    """Stands in `sys.modules` for all modules of one plain name: each use is one of the caller's own module."""

    def __getattribute__(self, name: str) -> Any:
        return getattr(_module_of_caller(object.__getattribute__(self, "__dict__")["__name__"]), name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "__spec__":
            raise AttributeError("the module has one already")
        setattr(_module_of_caller(object.__getattribute__(self, "__dict__")["__name__"]), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(_module_of_caller(object.__getattribute__(self, "__dict__")["__name__"]), name)

    def __dir__(self) -> list[str]:
        return dir(_module_of_caller(object.__getattribute__(self, "__dict__")["__name__"]))

    def __repr__(self) -> str:
        return repr(_module_of_caller(object.__getattribute__(self, "__dict__")["__name__"]))


def _module_of_caller(name: str) -> ModuleType:
    table, importer = _caller()
    if table is not None:
        private = table.private(name)
        if private in sys.modules:
            return sys.modules[private]
        if table.owns(name.partition(".")[0]):
            table.note(importer, name)
            return table.run(name)
    tables = sorted(_TABLES.values(), key=lambda one: (bool(one.plugins), one.number), reverse=True)
    for one in tables:
        if one.private(name) in sys.modules:
            return sys.modules[one.private(name)]
    raise AttributeError(f"module {name!r} is not loaded any more")


def _caller() -> tuple[ModuleTable | None, str]:
    """Return the load of the code that runs, and the name of its module."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        loader = frame.f_globals.get("__loader__")
        if type(loader) is PluginLoader:
            return loader.table, loader.public
        frame = frame.f_back
    return CURRENT.get(), ""


class _SharedLoader(Loader):
    """Imports a module of the plugin folder by its plain name: what comes of it is a `ModuleProxy`."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Import the module of the load that asks, or else of the newest that serves."""
        table, importer = _caller()
        if table is None:
            tables = sorted(_TABLES.values(), key=lambda one: (bool(one.plugins), one.number))
            table = tables[-1]
        if table.owns(spec.name.partition(".")[0]):
            table.note(importer, spec.name)
            table.run(spec.name)
        return sys.modules.setdefault(spec.name, ModuleProxy(spec.name))

    def exec_module(self, module: ModuleType) -> None:
        """Run nothing: the module has been run."""


class _PrivateFinder:
    """Finds modules by their private names."""

    @staticmethod
    def find_spec(fullname: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return the spec of a module of a load that is still there."""
        if not fullname.startswith(PREFIX):
            return None
        number, _, public = fullname.removeprefix(PREFIX).partition(":")
        table = _TABLES.get(int(number)) if number.isdecimal() else None
        return None if table is None else table.find(public, path)


class _FolderFinder:
    """Finds modules in a folder that belongs to plugins, for `PathFinder`: by their plain names."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def find_spec(self, fullname: str, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return a spec that leads to the helper of the load that asks, or the usual one for what is installed."""
        leaf = fullname.rpartition(".")[2]
        found = _find_in(self._folder, leaf)
        if found is None:
            return None
        if "." not in fullname and _is_installed(self._folder, leaf, found):
            return _usual_finder(self._folder).find_spec(fullname)
        if not found.is_source:
            return _usual_finder(self._folder).find_spec(fullname)
        return ModuleSpec(fullname, _SharedLoader(), origin=found.file)

    def invalidate_caches(self) -> None:
        """Do nothing: each search looks at the disk."""


_CLAIMED: set[str] = set()
"""The folders that modules of plugins are found in."""


def _claim(folder: str) -> None:
    if folder not in _CLAIMED:
        _CLAIMED.add(folder)
        for known in [known for known in sys.path_importer_cache if ospath.abspath(known) == folder]:
            del sys.path_importer_cache[known]


def _path_hook(folder: str) -> _FolderFinder:
    if ospath.abspath(folder) in _CLAIMED:
        return _FolderFinder(ospath.abspath(folder))
    raise ImportError(f"{folder} does not belong to plugins")


def _usual_finder(folder: str) -> FileFinder:
    return FileFinder(
        folder,
        (ExtensionFileLoader, EXTENSION_SUFFIXES),
        (SourceFileLoader, SOURCE_SUFFIXES),
        (SourcelessFileLoader, BYTECODE_SUFFIXES),
    )


class _Found(NamedTuple):
    """What a folder has by the name of a module: a source file, something that is compiled, or a folder only."""

    file: str | None
    folders: list[str] | None

    @property
    def is_source(self) -> bool:
        return self.file is not None and self.file.endswith(tuple(SOURCE_SUFFIXES))


def _find_in(folder: str, leaf: str) -> _Found | None:
    """Look for a module as Python's own finder does, but without reading the whole folder."""
    base = ospath.join(folder, leaf)
    is_folder = ospath.isdir(base)
    for stem, folders in [(ospath.join(base, "__init__"), [base])] * is_folder + [(base, None)]:
        for suffix in (*EXTENSION_SUFFIXES, *SOURCE_SUFFIXES, *BYTECODE_SUFFIXES):
            if ospath.isfile(stem + suffix):
                return _Found(stem + suffix, folders)
    return _Found(None, [base]) if is_folder else None


def _is_installed(folder: str, name: str, found: _Found) -> bool:
    """Return whether a module or package of the plugin folder was put there by an installer.

    A package is installed if it has compiled modules, holds an environment or an entry of `sys.path`, or if the record
    of a distribution beside it names it.
    """
    if found.file is not None and not found.is_source:
        return True
    if _is_recorded(folder, name):
        return True
    if found.folders is None:
        return False
    top = ospath.join(folder, name)
    if any(ospath.abspath(entry).startswith(top + sep) for entry in [*sys.path, sys.prefix] if entry):
        return True
    for _, folders, files in walk(top):
        if any(file.endswith(tuple(EXTENSION_SUFFIXES)) or file == "pyvenv.cfg" for file in files):
            return True
        if any(one.endswith((".dist-info", ".egg-info")) for one in folders):
            return True
    return False


def _is_recorded(folder: str, name: str) -> bool:
    for one in _distributions(folder):
        # The first names files, the second modules.
        for record in ("RECORD", "top_level.txt"):
            try:
                with open(ospath.join(folder, one, record), encoding="utf-8", errors="replace") as lines:
                    if any(line.startswith((f"{name}/", f"{name}.py,")) or line.strip() == name for line in lines):
                        return True
            except OSError:
                continue
    return False


_DISTRIBUTIONS: dict[str, tuple[int, list[str]]] = {}
"""The distributions in each plugin folder, and the time of the folder when it was read."""


def _distributions(folder: str) -> list[str]:
    try:
        changed = stat(folder).st_mtime_ns
        known = _DISTRIBUTIONS.get(folder)
        if known is None or known[0] != changed:
            found = [one for one in listdir(folder) if one.endswith((".dist-info", ".egg-info"))]
            known = _DISTRIBUTIONS[folder] = (changed, found)
    except OSError:
        return []
    return known[1]


def install() -> None:
    """Have the import system find modules of plugins; once is enough."""
    if _PrivateFinder not in sys.meta_path:
        sys.meta_path.insert(0, _PrivateFinder)
        sys.path_hooks.insert(0, _path_hook)
