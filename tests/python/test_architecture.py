"""The shape of the Rust sources: which module uses which, where Python and `unsafe` are, how long a file is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

SOURCES = Path(__file__).parent.parent.parent / "src"

#: The way of a request, and beside it what several stations share. A module uses only what stands in rows above it.
ROWS = (
    {"allocator", "config", "observe"},  # leaves: memory, settings and the log know of nothing else
    {"http"},
    {"policy"},
    {"routing", "control", "files"},
    {"bridge"},
    {"python"},  # the objects that plugins see; the bridge hands them requests
    {"plugins"},
    {"app"},
    {"cli"},
    {"lib", "main"},
)

#: Where pyo3 may be used. Everything else runs on I/O threads, which never attach to the interpreter, or is read by
#: them; of the modules here, `app` and `cli` only start and stop the loop, and their parts that serve are named below.
WITH_PYTHON = {"bridge", "python", "plugins", "app", "cli", "lib", "main"}
#: Files of those modules that run on I/O threads.
ON_IO_THREADS = {
    "app/documents.rs",
    "app/io.rs",
    "app/rehearsal/wire.rs",
    "app/service.rs",
    "app/shared.rs",
    "app/supervisor.rs",
    "bridge/exchange.rs",
    "bridge/request_data.rs",
    "bridge/submitter.rs",
    "bridge/wake.rs",
}

#: The files with `unsafe` blocks, and for what.
WITH_UNSAFE = {
    "allocator.rs": "is the allocator",
    "app/inherited.rs": "takes over file descriptors by their numbers",
    "http/forked.rs": "gives up listening sockets by their numbers",
    "bridge/context.rs": "enters contexts by the C interface",
    "bridge/invoke.rs": "calls methods by the vectorcall interface",
    "bridge/json/build_text.rs": "writes the characters of new Python strings",
    "bridge/json/encode.rs": "walks Python containers without reference counting",
    "bridge/json/integer.rs": "reads the digits of Python ints",
    "bridge/json/keys.rs": "keeps keys by their addresses",
    "bridge/json/layout.rs": "reads where the characters of a str are",
    "bridge/json/number.rs": "lets digits be written where they belong",
    "bridge/json/place.rs": "points into the room behind a buffer",
    "bridge/json/plain.rs": "walks Python containers without holding them",
    "bridge/json/scan.rs": "looks at sixteen bytes at a time",
    "bridge/json/text.rs": "reads the storage of Python strings",
    "bridge/starter.rs": "counts references",
    "bridge/step.rs": "steps coroutines by the C interface",
    "python/embed.rs": "starts and ends the interpreter",
    "python/interpreter.rs": "ends the process at once",
}

#: Files on Python's side with other locks or borrowed cells than `bridge/locked.rs`, and why no Python code can run,
#: and no Python object be made or dropped, while one is held.
WITH_OTHER_LOCKS = {
    "app/host.rs": "hold plain data of the life cycle and of the sockets",
    "bridge/channel.rs": "hands the end of a pipe to whichever thread comes first",
    "bridge/coroutine.rs": "are places of the thread that objects are only moved into and out of",
    "bridge/exchange.rs": "hold outcomes, which are plain data",
    "bridge/inbox.rs": "hold jobs and errands, which are moved in and out",
    "bridge/locked.rs": "is the lock",
    "bridge/submitter.rs": "are of an I/O thread",
    "plugins/watch.rs": "hold the step that is being watched, a path and a text",
    "python/sysinfo/cpu.rs": "hold figures",
}
#: Files with classes for Python that are not frozen, so that a second borrow is an error, and why there is none.
NOT_FROZEN = {
    "python/config/parser.rs": "are seen by configparser alone",
    "python/headers.rs": "has no fields",
}

LONGEST_FILE = 600


def files() -> list[str]:
    """Return every Rust file, relative to `src`."""
    return sorted(file.relative_to(SOURCES).as_posix() for file in SOURCES.rglob("*.rs"))


def module_of(file: str) -> str:
    """Return the top-level module that a file belongs to."""
    return file.split("/")[0].removesuffix(".rs")


def is_test(file: str) -> bool:
    """Tell whether a file holds nothing but tests."""
    return file.endswith("/tests.rs") or "/tests/" in file


def code_of(file: str) -> str:
    """Return the text of a file without comments and inline tests."""
    text = (SOURCES / file).read_text().split("#[cfg(test)]\nmod tests {")[0]
    return "\n".join(line.split("//")[0] if "://" not in line else line for line in text.splitlines())


def arrows(file: str) -> set[str]:
    """Return the top-level modules that a file names as `crate::…`."""
    braces = re.compile(r"crate::\{([^}]*)\}")
    text = braces.sub(lambda found: " ".join(f"crate::{name.strip()}" for name in found[1].split(",")), code_of(file))
    return set(re.findall(r"\bcrate::(\w+)", text)) - {module_of(file)}


def row(module: str) -> int:
    """Return the row that a module stands in."""
    for number, modules in enumerate(ROWS):
        if module in modules:
            return number
    raise AssertionError(f"{module} has no place in ROWS; every module has one")


def test_every_module_has_its_place() -> None:
    """A new top-level module is put into the order on purpose, and no row names one that is gone."""
    assert {module_of(file) for file in files()} == set().union(*ROWS)


@pytest.mark.parametrize("file", files())
def test_no_arrow_turns_back(file: str) -> None:
    """A module uses only what a request has passed before it gets there."""
    backwards = sorted(target for target in arrows(file) if row(target) >= row(module_of(file)))
    assert [] == backwards, f"{file} uses {backwards}"


@pytest.mark.parametrize("file", files())
def test_python_stays_where_it_belongs(file: str) -> None:
    """Nothing that runs on an I/O thread can hold a Python object, because it does not even know the crate."""
    if module_of(file) not in WITH_PYTHON or file in ON_IO_THREADS:
        assert not re.search(r"\bpy(o3|thonize)\b|\bPython<|\bPy<", code_of(file))


@pytest.mark.parametrize("file", files())
def test_unsafe_code_is_counted_and_explained(file: str) -> None:
    """`unsafe` is only in the files listed above, and each place says why it is sound."""
    lines = (SOURCES / file).read_text().splitlines()
    places = [number for number, line in enumerate(lines) if re.search(r"\bunsafe\b", line.split("//")[0])]
    assert (file in WITH_UNSAFE) == bool(places), f"{file}: WITH_UNSAFE is not up to date"
    for number in places:
        above = "\n".join(lines[max(0, number - 12) : number + 1])
        assert re.search(r"// SAFETY: \S|/// # Safety", above), f"{file}:{number + 1} does not say why it is sound"


@pytest.mark.parametrize("file", [file for file in files() if module_of(file) in WITH_PYTHON])
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
    modules -= {"__main__", "testing", "testing_pytest"}  # the executable's own entry is main.rs
    embedded = (SOURCES / "python" / "embed.rs").read_text()
    assert modules == set(re.findall(r"python/plugincore/(\w+)\.py", embedded))


def test_the_checks_see_what_they_are_about() -> None:
    """The reading of the sources itself works: known arrows and uses are found."""
    assert {"bridge", "http", "plugins", "python"} <= arrows("app/host.rs")
    assert {"app", "observe"} == arrows("cli/mod.rs")
    assert "pyo3" in code_of("bridge/driver.rs")
