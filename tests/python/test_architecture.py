"""The shape of the Rust sources: which file uses which, where Python and `unsafe` are, how long a file is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

SOURCES = Path(__file__).parent.parent.parent / "src"

#: The rooms, and in place of `edge` and `host` their folders. A module uses only what stands in rows above it, so that
#: no arrow turns back.
ROWS = (
    {"allocator", "edge/config", "edge/observe"},  # leaves: memory, settings and the log know of nothing else
    {"edge/http"},
    {"edge/policy", "edge/parameters"},
    {"edge/routing", "edge/control", "edge/files"},
    {"edge/queue"},  # what crosses to the Python thread
    {"edge/gateway", "edge/watch"},  # the request's way through the stages; what is watched has no part in it
    {"json"},
    {"host/bridge"},
    {"host/python"},  # the objects that plugins see; the bridge hands them requests
    {"host/plugins"},
    {"host/lifecycle", "host/testing"},
    {"app"},
    {"cli"},
    {"fuzzed"},  # tries parsers of all rooms
    {"lib", "main"},
)

#: Where pyo3 may be used. The edge runs on I/O threads, which never attach to the interpreter, or is read by them.
WITH_PYTHON = {"json", "host", "app", "cli", "fuzzed", "lib", "main"}
#: Files of those rooms that run on threads which do not attach, either.
ON_OTHER_THREADS = {"app/supervisor.rs", "app/successor.rs", "app/handover.rs", "host/testing/wire.rs"}

#: The files with `unsafe` blocks, and for what.
WITH_UNSAFE = {
    "allocator.rs": "is the allocator",
    "app/inherited.rs": "takes over file descriptors by their numbers",
    "host/bridge/fork.rs": "gives up listening sockets by their numbers",
    "host/bridge/context.rs": "enters contexts by the C interface",
    "host/bridge/invoke.rs": "calls methods by the vectorcall interface",
    "json/block.rs": "looks at sixteen bytes at a time",
    "json/borrowed.rs": "reads Python objects without reference counting",
    "json/cursor.rs": "writes behind the bytes that a buffer counts",
    "json/new_string.rs": "writes the characters of new Python strings",
    "json/plain.rs": "promises that no Python code runs while objects are borrowed",
    "host/bridge/eager_tasks.rs": "counts references",
    "host/bridge/running.rs": "maps a file",
    "host/bridge/step.rs": "steps coroutines by the C interface",
    "host/python/embed.rs": "starts and ends the interpreter",
    "host/python/interpreter.rs": "ends the process at once",
}

#: Files on Python's side with other locks or borrowed cells than `bridge/locked.rs`, and why no Python code can run,
#: and no Python object be made or dropped, while one is held.
WITH_OTHER_LOCKS = {
    "app/predecessor.rs": "hold texts, a path and a socket until the other process has agreed",
    "host/lifecycle/handle.rs": "hold sockets and threads of the edge",
    "host/lifecycle/crash_guard.rs": "holds plain data",
    "host/lifecycle/status.rs": "holds plain data",
    "host/bridge/channel.rs": "hands the end of a pipe to whichever thread comes first",
    "host/bridge/coroutine.rs": "are places of the thread that objects are only moved into and out of",
    "host/bridge/locked.rs": "is the lock",
    "host/bridge/time_limit.rs": "holds plain data",
    "host/bridge/inside.rs": "hold texts",
    "host/bridge/stack_sample.rs": "holds texts",
    "host/bridge/submission_queue.rs": "is held to move requests and callbacks in and out, which are dropped after it",
    "host/plugins/watch.rs": "hold the step that is being watched, a path and a text",
    "host/python/sysinfo/cpu.rs": "hold figures",
}
#: Files with classes for Python that are not frozen, so that a second borrow is an error, and why there is none.
NOT_FROZEN = {
    "host/python/config/parser.rs": "are seen by configparser alone",
    "host/python/headers.rs": "has no fields",
}

LONGEST_FILE = 600


def files() -> list[str]:
    """Return every Rust file, relative to `src`."""
    return sorted(file.relative_to(SOURCES).as_posix() for file in SOURCES.rglob("*.rs"))


def room_of(file: str) -> str:
    """Return the room that a file belongs to, such as `app`."""
    return file.split("/")[0].removesuffix(".rs")


def module_of(file: str) -> str:
    """Return what has a row in `ROWS`: the room, or its folder for the edge and the host."""
    parts = file.removesuffix(".rs").removesuffix("/mod").split("/")
    return "/".join(parts[:2] if parts[0] in ("edge", "host") else parts[:1])


def is_test(file: str) -> bool:
    """Return whether a file holds nothing but tests."""
    return file.endswith("/tests.rs") or "/tests/" in file


def code_of(file: str) -> str:
    """Return the text of a file without comments and inline tests."""
    text = (SOURCES / file).read_text().split("#[cfg(test)]\nmod tests {")[0]
    return "\n".join(line.split("//")[0] if "://" not in line else line for line in text.splitlines())


def flattened(tree: str, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the paths that a `use` tree such as `a::{b, c::{d, e}}` names."""
    items, depth = [""], 0
    for character in tree:
        depth += {"{": 1, "}": -1}.get(character, 0)
        if character == "," and depth == 0:
            items.append("")
        else:
            items[-1] += character
    paths = []
    for item in filter(None, map(str.strip, items)):
        nested = re.fullmatch(r"(.*?)\{(.*)\}", item, re.DOTALL)
        head = nested[1] if nested else item.split(" as ")[0]
        path = (*prefix, *(part.strip() for part in head.split("::") if part.strip()))
        paths += flattened(nested[2], path) if nested else [path]
    return paths


def path_of(file: str) -> tuple[str, ...]:
    """Return the path of the module in a file, from the root of the crate."""
    parts = file.removesuffix(".rs").removesuffix("/mod").split("/")
    return () if parts in (["lib"], ["main"]) else tuple(parts)


MODULES = {path_of(file): file for file in files() if not is_test(file) and file != "main.rs"}


def used(file: str) -> set[str]:
    """Return the other files whose modules a file names, by `use` or in full."""
    code, own = code_of(file), path_of(file)
    paths = [path for tree in re.findall(r"\buse\s+([^;]+);", code) for path in flattened(tree)]
    in_full = re.findall(r"\b((?:crate|super|self)(?:::\w+)+)", re.sub(r"\buse\s+[^;]+;", "", code))
    found = set()
    for path in paths + [tuple(path.split("::")) for path in in_full]:
        base, rest = own, list(path)
        if rest[0] == "crate":
            base, rest = (), rest[1:]
        elif rest[0] == "self":
            rest = rest[1:]
        elif rest[0] != "super" and (*own, rest[0]) not in MODULES:
            continue  # another crate, or something of this very file
        while rest and rest[0] == "super":
            base, rest = base[:-1], rest[1:]
        full = (*base, *rest)
        while full and full not in MODULES:
            full = full[:-1]
        found.add(MODULES[full])
    return found - {file}


def arrows(file: str) -> set[str]:
    """Return the modules of `ROWS` that a file uses, besides its own."""
    return {module_of(target) for target in used(file)} - {module_of(file)}


def row(module: str) -> int:
    """Return the row that a module stands in."""
    for number, modules in enumerate(ROWS):
        if module in modules:
            return number
    raise AssertionError(f"{module} has no place in ROWS; every module has one")


def test_every_module_has_its_place() -> None:
    """A new module is put into the order on purpose, and no row names one that is gone."""
    assert {module_of(file) for file in files()} - {"edge", "host"} == set().union(*ROWS)


@pytest.mark.parametrize("file", MODULES.values())
def test_no_arrow_turns_back(file: str) -> None:
    """A module uses only what stands in rows above its own."""
    if module_of(file) in ("edge", "host"):
        assert set() == arrows(file)
        return
    backwards = sorted(target for target in arrows(file) if row(target) >= row(module_of(file)))
    assert [] == backwards, f"{file} uses {backwards}"


def test_no_files_use_each_other_in_a_circle() -> None:
    """Each file can be understood with what it uses, and that without it."""
    left = {file: used(file) for file in MODULES.values()}
    while free := [file for file, targets in left.items() if not targets & left.keys()]:
        for file in free:
            del left[file]
    # What is left is in a circle, or uses one; of the latter, those that none in a circle uses go, too.
    while free := [file for file in left if not any(file in targets for targets in left.values())]:
        for file in free:
            del left[file]
    assert {} == {file: sorted(targets & left.keys()) for file, targets in left.items()}


@pytest.mark.parametrize("file", files())
def test_python_stays_where_it_belongs(file: str) -> None:
    """Nothing that runs on an I/O thread can hold a Python object, because it does not even know the crate."""
    if room_of(file) not in WITH_PYTHON or file in ON_OTHER_THREADS:
        assert not re.search(r"\bpy(o3|thonize)\b|\bPython<|\bPy<", code_of(file))


@pytest.mark.parametrize("file", files())
def test_unsafe_code_is_counted_and_explained(file: str) -> None:
    """`unsafe` is only in the files listed above, and each place says why it is sound."""
    lines = (SOURCES / file).read_text().splitlines()
    places = [number for number, line in enumerate(lines) if re.search(r"\bunsafe\b(?!-)", line.split("//")[0])]
    assert (file in WITH_UNSAFE) == bool(places), f"{file}: WITH_UNSAFE is not up to date"
    for number in places:
        above = "\n".join(lines[max(0, number - 12) : number + 1])
        assert re.search(r"// SAFETY: \S|/// # Safety", above), f"{file}:{number + 1} does not say why it is sound"


@pytest.mark.parametrize("file", [file for file in files() if room_of(file) in WITH_PYTHON])
def test_no_lock_is_held_while_python_runs(file: str) -> None:
    """What Python code may come back to is behind `Locked`, which lets no Python code run, or is listed above."""
    code = code_of(file)
    locks = re.search(r"\bMutex\b(?!Guard)|\bRwLock\b|\bRefCell\b", code)
    assert (file in WITH_OTHER_LOCKS) == bool(locks), f"{file}: WITH_OTHER_LOCKS is not up to date"
    open_classes = re.search(r"#\[pyclass(?!\([^)]*\bfrozen\b)", code)
    assert (file in NOT_FROZEN) == bool(open_classes), f"{file}: NOT_FROZEN is not up to date"
    # Asked for while it is being made it would wait for itself.
    assert "get_or_try_init" not in code, f"{file}: use made_once of bridge/locked.rs"


@pytest.mark.parametrize("file", files())
def test_a_file_is_of_readable_size(file: str) -> None:
    """Files of some 200 lines are the norm; past 600 a file is two files."""
    without_tests = (SOURCES / file).read_text().split("#[cfg(test)]\nmod tests {")[0]
    assert is_test(file) or len(without_tests.splitlines()) <= LONGEST_FILE


@pytest.mark.parametrize("file", files())
def test_a_module_says_what_it_promises(file: str) -> None:
    """Every file opens with its documentation."""
    assert (SOURCES / file).read_text().startswith("//! ")


def test_the_executable_holds_the_whole_python_half() -> None:
    """A new Python module of the package is put into the standalone executable, too, unless it is for tests."""
    package = SOURCES.parent / "python" / "plugincore"
    modules = {file.stem for file in package.glob("*.py")}
    # The own entry of the executable is main.rs.
    modules = {name for name in modules if name != "__main__" and not name.lstrip("_").startswith("testing")}
    embedded = (SOURCES / "host" / "python" / "embed.rs").read_text()
    assert modules == set(re.findall(r"python/plugincore/(\w+)\.py", embedded))


def test_the_checks_see_what_they_are_about() -> None:
    """The reading of the sources itself works: known arrows and uses are found."""
    assert {"host/bridge", "edge/gateway", "host/plugins"} <= arrows("host/lifecycle/host.rs")
    assert {"edge/http/connection.rs", "host/testing/wire.rs"} <= used("host/testing/wire.rs") | used(
        "host/testing/mod.rs"
    )
    assert {("a", "b"), ("a", "c", "d")} == set(flattened("a::{b, c::{d as e}}"))
    assert "pyo3" in code_of("host/bridge/request_coroutine.rs")
