"""`--watch`: what changes on the disk serves, without a request for it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from support.plugins import INI
from support.server import Launch, Server, command

PLUGIN = """
from plugincore.baseplugin import BasePlugin

class Greet(BasePlugin):
    def request_handler(self, **data):
        return 200, {"answer": "one"}
"""

HELPED = """
from plugincore.baseplugin import BasePlugin
import words

class Helped(BasePlugin):
    def request_handler(self, **data):
        return 200, {"answer": words.ANSWER}
"""

#: A plugin with a state.
COUNTS = """
import itertools
from plugincore.baseplugin import BasePlugin

class Counts(BasePlugin):
    calls = itertools.count(1)

    def request_handler(self, **data):
        return 200, {"answer": next(self.calls)}
"""

#: How a server is told to watch; the second way reads everything again and again, as on a network drive.
WAYS = pytest.mark.parametrize("mode", ["on", "poll"])


def answer(server: Server, plugin: str = "greet") -> object:
    """Ask a plugin, and return what it says, or the status of a refusal."""
    response = server.get(f"/{plugin}")
    return response.json()["answer"] if response.status_code == 200 else response.status_code


def write(file: Path, text: str) -> None:
    """Write a file at once."""
    file.write_text(textwrap.dedent(text))


def edit(file: Path, old: str, new: str) -> None:
    """Replace a text in a file."""
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def reloads(server: Server) -> int:
    """Return how many reloads the log tells of."""
    return server.log.count("Changed: ")


def answers(server: Server, expected: object, plugin: str = "greet") -> None:
    """Wait, from one reload to the next, until a plugin answers like this."""
    while True:
        position = len(server.lines)
        if answer(server, plugin) == expected:
            return
        server.wait_for("Loaded plugin|is gone", position)


def watching(launch: Launch, plugins: dict[str, str], mode: str = "on", **options: object) -> Server:
    """Start a server that watches."""
    server = launch(plugins, args=[f"--watch={mode}"], **options)
    server.wait_for("Watching .*/plugins for changes" + (", by reading it once a second" if mode == "poll" else "$"))
    return server


@WAYS
def test_an_edited_plugin_answers_anew(launch: Launch, mode: str) -> None:
    """The log says which file has changed."""
    server = watching(launch, {"greet": PLUGIN}, mode)
    edit(server.plugins / "greet.py", "one", "two")
    answers(server, "two")
    assert "Changed: plugins/greet.py" in server.log


@WAYS
def test_a_plugin_on_an_edited_helper_answers_anew(launch: Launch, mode: str) -> None:
    """A module beside the plugins and one in a package both count, in a folder that was not there before as well."""
    server = watching(launch, {"helped": HELPED, "words": "ANSWER = 'one'\n"}, mode)
    write(server.plugins / "words.py", "ANSWER = 'two'\n")
    answers(server, "two", "helped")
    (server.plugins / "package").mkdir()
    write(server.plugins / "package" / "deep.py", "ANSWER = 'three'\n")
    write(server.plugins / "words.py", "from package.deep import ANSWER\n")
    answers(server, "three", "helped")
    write(server.plugins / "package" / "deep.py", "ANSWER = 'four'\n")
    answers(server, "four", "helped")


@WAYS
def test_a_new_plugin_appears_and_a_deleted_one_is_gone(launch: Launch, mode: str) -> None:
    """Both without a restart; the others go on."""
    server = watching(launch, {"greet": PLUGIN}, mode)
    write(server.plugins / "more.py", PLUGIN.replace("Greet", "More"))
    answers(server, "one", "more")
    (server.plugins / "greet.py").unlink()
    answers(server, 404)
    assert "one" == answer(server, "more")


@WAYS
def test_a_broken_edit_leaves_the_old_version_until_it_is_mended(launch: Launch, mode: str) -> None:
    """The log names file and line; mending is enough, nothing has to be asked for."""
    server = watching(launch, {"greet": PLUGIN}, mode)
    edit(server.plugins / "greet.py", "one", 'two"')
    server.wait_for(r"(ERROR|<3>).*plugins/greet.py:6: SyntaxError.*goes on serving")
    assert "one" == answer(server)
    edit(server.plugins / "greet.py", 'two"', "three")
    answers(server, "three")


def test_only_the_changed_plugin_is_loaded_anew(launch: Launch) -> None:
    """All others keep their state, those with the same helper as it was, too."""
    counts = COUNTS.replace("import itertools", "import itertools\nimport words")
    plugins = {"greet": PLUGIN, "counts": counts, "also": COUNTS.replace("Counts", "Also"), "words": "ANSWER = 1\n"}
    ini = INI + "\n[plugin_parms]\ngreet = json:greet.json\n"
    server = watching(launch, {**plugins, "greet.json": "{}"}, ini=ini)
    assert (1, 1) == (answer(server, "counts"), answer(server, "also"))
    edit(server.plugins / "greet.py", "one", "two")
    answers(server, "two")
    position = len(server.lines)
    write(server.plugins / "greet.json", '{"more": 1}')
    server.wait_for("Loaded plugin greet", position)
    assert (2, 2) == (answer(server, "counts"), answer(server, "also"))
    write(server.plugins / "words.py", "ANSWER = 2\n")
    server.wait_for("Loaded plugin counts", position)
    assert (1, 3) == (answer(server, "counts"), answer(server, "also"))
    assert 1 == server.log.count("Loaded plugin also")


@WAYS
def test_a_file_that_is_broken_holds_nobody_up(launch: Launch, mode: str) -> None:
    """Changes of others serve; it is not tried again, nor told of, until it changes."""
    server = watching(launch, {"greet": PLUGIN, "other": PLUGIN.replace("Greet", "Other")}, mode)
    write(server.plugins / "greet.py", "1 / 0\n")
    server.wait_for("greet.py:1: ZeroDivisionError")
    write(server.plugins / "new.py", "1 / 0\n")
    server.wait_for("new.py:1: ZeroDivisionError")
    edit(server.plugins / "other.py", "one", "two")
    answers(server, "two", "other")
    assert "one" == answer(server)
    assert 2 == server.log.count(": ZeroDivisionError: division by zero")
    write(server.plugins / "new.py", PLUGIN.replace("Greet", "New"))
    answers(server, "one", "new")
    write(server.plugins / "greet.py", PLUGIN.replace("one", "three"))
    answers(server, "three")
    assert 1 == server.log.count("Loaded plugin new")


def test_a_plugin_that_was_brought_back_stays_until_its_file_changes(launch: Launch) -> None:
    """Changes of others leave it as it is."""
    server = watching(launch, {"greet": PLUGIN, "other": PLUGIN.replace("Greet", "Other")})
    edit(server.plugins / "greet.py", "one", "two")
    answers(server, "two")
    assert 200 == server.post("/-/api/plugins/greet/previous").status_code
    edit(server.plugins / "other.py", "one", "two")
    answers(server, "two", "other")
    assert "one" == answer(server)
    edit(server.plugins / "greet.py", "two", "three")
    answers(server, "three")


def test_a_changed_ini_file_counts_as_soon_as_it_can(launch: Launch) -> None:
    """A plugin that was broken meanwhile keeps it from that, and it keeps no other plugin from anything."""
    server = watching(launch, {"greet": PLUGIN, "other": PLUGIN.replace("Greet", "Other")})
    write(server.plugins / "greet.py", "1 / 0\n")
    server.wait_for("greet.py:1: ZeroDivisionError")
    position = len(server.lines)
    (server.folder / "server.ini").write_text(INI + "\n[auth]\napikey = secret\n")
    server.wait_for("Nothing was reloaded", position)
    edit(server.plugins / "other.py", "one", "two")
    answers(server, "two", "other")
    assert 200 == server.get("/plugins").status_code
    write(server.plugins / "greet.py", PLUGIN.replace("one", "three"))
    answers(server, "three")
    assert 403 == server.get("/plugins").status_code


@WAYS
def test_changed_parameters_count(launch: Launch, mode: str) -> None:
    """The JSON file of a plugin, and the lines of the ini file, which is checked as a whole."""
    source = PLUGIN.replace('"one"', 'self._kwargs["word"]').replace(
        "def request", "def initialize(self, **kwargs):\n        self._kwargs = kwargs\n\n    def request"
    )
    ini = INI + "\n[plugin_parms]\ngreet = json:greet.json\n"
    server = watching(launch, {"greet": source, "greet.json": '{"word": "one"}'}, mode, ini=ini)
    assert "one" == answer(server)
    (server.plugins / "greet.json").write_text(json.dumps({"word": "two"}))
    answers(server, "two")
    edit(server.folder / "server.ini", "json:greet.json", "word=three")
    answers(server, "three")
    position = len(server.lines)
    edit(server.folder / "server.ini", "port = 0", "port = none")
    server.wait_for(r"reload: server\.ini:3: \[network\] port: must be a number", position)
    assert "three" == answer(server)


@WAYS
def test_the_same_bytes_again_reload_nothing(launch: Launch, mode: str) -> None:
    """Neither `touch` nor a checkout that writes the same file anew."""
    server = watching(launch, {"greet": PLUGIN, "other": PLUGIN.replace("Greet", "Other")}, mode)
    file = server.plugins / "greet.py"
    os.utime(file)
    file.with_suffix(".tmp").write_text(file.read_text())
    file.with_suffix(".tmp").rename(file)
    (server.plugins / "data.json").write_text("{}")
    (server.plugins / ".#greet.py").write_text("?")
    # A real change later is the first one that counts.
    edit(server.plugins / "other.py", "one", "two")
    answers(server, "two", "other")
    assert 1 == reloads(server)
    assert "Changed: plugins/other.py" in server.log


def in_place(file: Path, text: str) -> None:
    """Write as a script does, in pieces."""
    with file.open("w") as opened:
        for piece in text.splitlines(keepends=True):
            opened.write(piece)
            opened.flush()


def by_a_new_file(file: Path, text: str) -> None:
    """Write a temporary file and rename it, as most editors and deployments do."""
    temporary = file.with_name(f".{file.name}.tmp")
    temporary.write_text(text)
    temporary.rename(file)


def with_a_backup(file: Path, text: str) -> None:
    """Rename the old file and write a new one, as vim does, which tries first whether the folder can be written to."""
    (file.parent / "4913").touch()
    (file.parent / "4913").unlink()
    backup = file.with_name(f"{file.name}~")
    file.rename(backup)
    file.write_text(text)
    backup.unlink()


def with_a_lock(file: Path, text: str) -> None:
    """Write while a link that leads nowhere says who edits the file, as Emacs does."""
    lock = file.with_name(f".#{file.name}")
    lock.symlink_to("somebody@somewhere.1")
    file.write_text(text)
    lock.unlink()


@pytest.mark.parametrize("save", [in_place, by_a_new_file, with_a_backup, with_a_lock])
def test_one_save_is_one_change_however_an_editor_writes(launch: Launch, save: Callable[[Path, str], None]) -> None:
    """What it writes besides is not looked at."""
    server = watching(launch, {"greet": PLUGIN})
    for count, word in enumerate(["two", "three"], 1):
        save(server.plugins / "greet.py", PLUGIN.replace("one", word))
        answers(server, word)
        assert count == reloads(server) == server.log.count("Changed: plugins/greet.py")


def test_many_files_at_once_are_one_change(launch: Launch) -> None:
    """A checkout writes one file after the other; the server waits for the last."""
    server = watching(launch, {f"p{number}": PLUGIN.replace("Greet", f"P{number}") for number in range(20)})
    for number in range(20):
        file = server.plugins / f"p{number}.py"
        file.with_suffix(".new").write_text(file.read_text().replace("one", "two"))
        file.with_suffix(".new").rename(file)
    answers(server, "two", "p19")
    assert "two" == answer(server, "p0")
    assert 1 == reloads(server)
    assert "Changed: plugins/p0.py, plugins/p1.py, plugins/p10.py and 17 more files" in server.log


@WAYS
def test_a_link_to_the_whole_folder_that_is_flipped_is_one_change(launch: Launch, tmp_path: Path, mode: str) -> None:
    """As tools do it that keep a folder in step with a repository; what serves then is followed further."""
    for name in ("one", "two"):
        folder = tmp_path / ".worktrees" / name
        folder.mkdir(parents=True)
        write(folder / "greet.py", PLUGIN.replace("one", name))
        write(folder / f"only_{name}.py", PLUGIN.replace("Greet", f"Only{name}"))
    (tmp_path / "site").mkdir()
    link = tmp_path / "site" / "plugins"
    link.symlink_to("../.worktrees/one")
    server = watching(launch, {}, mode, folder=tmp_path / "site")
    assert ("one", "one") == (answer(server), answer(server, "onlyone"))
    (tmp_path / "next").symlink_to("../.worktrees/two")
    (tmp_path / "next").rename(link)
    answers(server, "two")
    assert (404, "one", 1) == (answer(server, "onlyone"), answer(server, "onlytwo"), reloads(server))
    edit(tmp_path / ".worktrees" / "two" / "greet.py", "two", "three")
    answers(server, "three")


def test_files_that_are_links_are_followed(launch: Launch, tmp_path: Path) -> None:
    """As container platforms mount configuration: each file leads through a link that is replaced."""
    for name in ("..1", "..2"):
        (tmp_path / "site" / "plugins" / name).mkdir(parents=True)
        write(tmp_path / "site" / "plugins" / name / "greet.py", PLUGIN.replace("one", name))
    plugins = tmp_path / "site" / "plugins"
    (plugins / "..data").symlink_to("..1")
    (plugins / "greet.py").symlink_to("..data/greet.py")
    server = watching(launch, {}, folder=tmp_path / "site")
    assert "..1" == answer(server)
    (plugins / "..next").symlink_to("..2")
    (plugins / "..next").rename(plugins / "..data")
    answers(server, "..2")


def test_a_file_that_is_still_open_for_writing_is_waited_for(launch: Launch) -> None:
    """A copy that pauses half-way is not loaded, though what is there so far could be."""
    server = watching(launch, {"greet": PLUGIN})
    source = PLUGIN.replace("one", "two")
    half = source.index("class")
    with (server.plugins / "greet.py").open("w") as file:
        file.write(source[:half])
        file.flush()
        server.wait_for(r"plugins/greet\.py is open for writing; changes are loaded when that has ended")
        assert ("one", 0) == (answer(server), reloads(server))
        file.write(source[half:])
    answers(server, "two")
    assert 1 == reloads(server)


@WAYS
def test_a_checkout_is_one_change_however_long_it_takes(launch: Launch, mode: str) -> None:
    """Git holds its lock from before the first file until after the last."""
    server = watching(launch, {"greet": PLUGIN, "other": PLUGIN.replace("Greet", "Other")}, mode)
    lock = server.folder / ".git" / "index.lock"
    lock.parent.mkdir()
    lock.touch()
    edit(server.plugins / "greet.py", "one", "two")
    server.wait_for(r"git works on the files \(.*/\.git/index\.lock\); changes are loaded when that has ended")
    assert ("one", 0) == (answer(server), reloads(server))
    edit(server.plugins / "other.py", "one", "two")
    lock.unlink()
    answers(server, "two")
    assert ("two", 1) == (answer(server, "other"), reloads(server))
    assert 1 == server.log.count("git works on the files")


@WAYS
def test_a_folder_that_is_deleted_serves_on_and_counts_again_when_it_is_back(launch: Launch, mode: str) -> None:
    """One line says that it is gone, with all that was in it."""
    ini = INI + "\n[plugin_parms]\ngreet = json:greet.json\n"
    server = watching(launch, {"greet": PLUGIN, "greet.json": "{}"}, mode, ini=ini)
    server.plugins.rename(server.folder / "away")
    server.wait_for(r"plugins cannot be read: No such file or directory .*; what was loaded from it goes on serving")
    assert ("one", 0) == (answer(server), reloads(server))
    server.plugins.mkdir()
    write(server.plugins / "greet.json", "{}")
    write(server.plugins / "greet.py", PLUGIN.replace("one", "two"))
    answers(server, "two")
    shutil.rmtree(server.folder / "away")
    edit(server.plugins / "greet.py", "two", "three")
    answers(server, "three")


@WAYS
def test_an_ini_file_that_is_deleted_counts_again_when_it_is_back(launch: Launch, mode: str) -> None:
    """Until then the server goes on with what it said."""
    server = watching(launch, {"greet": PLUGIN}, mode)
    text = (server.folder / "server.ini").read_text()
    (server.folder / "server.ini").unlink()
    server.wait_for(r"server\.ini is gone; the server goes on with what it said")
    assert ("one", 0) == (answer(server), reloads(server))
    write(server.folder / "server.ini", text + "[plugin_parms]\ngreet = route_path=hello\n")
    answers(server, "one", "hello")
    assert 404 == answer(server)


def test_links_in_a_circle_end_nothing(launch: Launch) -> None:
    """A link to the folder above, and one to itself."""
    server = watching(launch, {"greet": PLUGIN})
    (server.plugins / "up").symlink_to("..")
    (server.plugins / "self.py").symlink_to("self.py")
    edit(server.plugins / "greet.py", "one", "two")
    answers(server, "two")


def test_a_folder_that_may_not_be_read_is_told(launch: Launch) -> None:
    """What serves goes on; when it may be read again, it counts again."""
    without = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("the superuser may read everything")
    program = [*(without if os.geteuid() == 0 else []), *command()]
    server = watching(launch, {"greet": PLUGIN}, program=program)
    server.plugins.chmod(0)
    edit(server.folder / "server.ini", "[paths]", "[server]\ndrain_delay = 0\n\n[paths]")
    server.wait_for(r"plugins cannot be read: Permission denied")
    assert "one" == answer(server)
    server.plugins.chmod(0o755)
    edit(server.plugins / "greet.py", "one", "two")
    answers(server, "two")


def isolated(*setup: str) -> list[str]:
    """Return the command of a server with mounts and limits of its own, which ``setup`` makes first."""
    unshare = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-ec"]
    script = "; ".join(setup)
    if not shutil.which("unshare") or subprocess.run([*unshare, script], capture_output=True, check=False).returncode:
        pytest.skip("this machine allows no such process")
    return [*unshare, f'{script}; exec "$0" "$@"', *command()]


def test_at_the_limit_of_inotify_the_files_are_read_instead(launch: Launch) -> None:
    """One line says so, and which limit it is."""
    server = launch(
        {"greet": PLUGIN}, args=["--watch"], program=isolated("echo 0 > /proc/sys/user/max_inotify_watches")
    )
    line = server.wait_for("the system does not tell of changes in .*, so it is read once a second")
    assert "fs.inotify.max_user_watches" in line
    edit(server.plugins / "greet.py", "one", "two")
    answers(server, "two")
    assert 1 == server.log.count("once a second")


def test_where_the_file_system_does_not_tell_of_changes_they_are_found(launch: Launch, tmp_path: Path) -> None:
    """As below a mount that others write to: here, what lies under an overlay is changed."""
    site, upper, work = tmp_path / "site", tmp_path / "upper", tmp_path / "work"
    for folder in (site / "plugins", upper, work):
        folder.mkdir(parents=True)
    options = f"lowerdir={site / 'plugins'},upperdir={upper},workdir={work}"
    overlay = isolated(f"mount -t overlay overlay -o {options} {site / 'plugins'}")
    server = launch({"greet": PLUGIN}, args=["--watch"], program=overlay, folder=site)
    server.wait_for("so it is read once a second: .*plugins is on a file system of type overlay")
    edit(site / "plugins" / "greet.py", "one", "two")
    answers(server, "two")


def test_the_ini_file_switches_it_on_and_off_while_the_server_runs(launch: Launch) -> None:
    """`[server] watch`; without it, nothing is watched."""
    server = launch({"greet": PLUGIN})
    assert "Watching" not in server.log
    edit(server.folder / "server.ini", "[paths]", "[server]\nwatch = true\n\n[paths]")
    assert 200 == server.post("/reload/all").status_code
    server.wait_for("Watching")
    edit(server.plugins / "greet.py", "one", "two")
    answers(server, "two")
    edit(server.folder / "server.ini", "watch = true", "watch = false")
    server.wait_for("Files are not watched any longer")


def test_the_command_line_wins_over_the_ini_file(launch: Launch) -> None:
    """`--watch=off` with `watch = true`; another word is a mistake in both."""
    server = launch({"greet": PLUGIN}, ini_more="[server]\nwatch = true\n", args=["--watch=off"])
    assert "Watching" not in server.log
    server = launch({}, ini_more="[server]\nwatch = sometimes\n", ready=False)
    assert 2 == server.wait()
    assert "[server] watch: must be on, off or poll, not 'sometimes'" in server.log.replace('"', "'")
    server = launch({}, args=["--watch=sometimes"], ready=False)
    assert 2 == server.wait()
    assert "a mode is one of on, off, poll" in server.log


def test_a_restart_in_place_watches_again(launch: Launch) -> None:
    """SIGUSR1 starts the same command, with the same flag."""
    server = watching(launch, {"greet": PLUGIN})
    position = len(server.lines)
    server.send(signal.SIGUSR1)
    server.wait_for("Server started on", position)
    edit(server.plugins / "greet.py", "one", "two")
    answers(server, "two")
