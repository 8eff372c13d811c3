"""What LogJam and the logging bridge write, seen from outside: each program here runs in a process of its own."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

DATED = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}"


def run(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run ``program`` with its standard output piped; it must end well."""
    return subprocess.run(command(program, *arguments), capture_output=True, check=True, text=True, timeout=30)


def lines_of(program: str, *arguments: object) -> list[str]:
    """Run ``program`` and give the lines on its standard output."""
    return run(program, *arguments).stdout.splitlines()


def on_terminal(program: str) -> str:
    """Run ``program`` with its standard output on a terminal and give what the terminal gets."""
    master, slave = pty.openpty()
    with subprocess.Popen(command(program), stdout=slave) as process:
        os.close(slave)
        output = b""
        try:
            while chunk := os.read(master, 4096):
                output += chunk
        except OSError:  # Linux's end of file on a terminal
            pass
        assert 0 == process.wait(timeout=30)
    os.close(master)
    return output.decode().replace("\r\n", "\n")


def command(program: str, *arguments: object) -> list[str]:
    """Give the command line that runs ``program`` with LogJam imported and the arguments in ``sys.argv[1:]``."""
    prelude = "import sys\nfrom plugincore.logjam import LogJam\n"
    return [sys.executable, "-c", prelude + textwrap.dedent(program), *map(str, arguments)]


class TestLines:
    """Formats and levels."""

    def test_a_piped_line_carries_its_priority(self) -> None:
        """On a pipe a line is ``<priority> - LEVEL - name - text``."""
        assert ["<6> - INFO - shop - open 1 None"] == lines_of("LogJam(name='shop')('open', 1, None)")

    def test_the_name_may_be_set(self) -> None:
        """A log that is renamed writes under its new name from then on; it cannot lose its name."""
        program = """
            log = LogJam(name="shop")
            log("one")
            log.name = "till"
            log("two")
            try:
                log.name = ""
            except ValueError:
                log(log.name)
        """
        assert ["<6> - INFO - shop - one", "<6> - INFO - till - two", "<6> - INFO - till - till"] == lines_of(program)

    def test_a_terminal_line_carries_the_time(self) -> None:
        """On a terminal a line is dated."""
        output = on_terminal("log = LogJam(name='shop'); log('open'); assert log.tty")
        assert re.fullmatch(rf"{DATED} - shop - INFO - open\n", output)

    def test_a_file_gets_dated_lines_beside_the_piped_ones(self, tmp_path: Path) -> None:
        """With ``file`` the dated line is appended there and the other still goes to standard output."""
        file = tmp_path / "shop.log"
        file.write_text("earlier\n")
        output = lines_of("LogJam(name='shop', file=sys.argv[1])('open')", file)
        assert ["<6> - INFO - shop - open"] == output
        assert re.fullmatch(rf"earlier\n{DATED} - shop - INFO - open\n", file.read_text())

    def test_the_time_is_local(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The zone named by ``TZ`` is obeyed, as Python's own clock obeys it."""
        monkeypatch.setenv("TZ", "Asia/Kolkata")
        program = "import time\nLogJam(name='n', file=sys.argv[1])(time.strftime('%Y-%m-%d %H:'))"
        lines_of(program, tmp_path / "n.log")
        line = (tmp_path / "n.log").read_text().rstrip()
        assert line[:14] == line.rpartition(" - ")[2]

    def test_each_method_has_its_level(self) -> None:
        """The seven methods write the levels and priorities of pluginserver; warn and warning are one level."""
        names = "debug info warn warning error critical exception"
        output = lines_of(f"log = LogJam(name='n', level='debug')\nfor m in '{names}'.split(): getattr(log, m)(m)")
        levels = ["<7> - DEBUG", "<6> - INFO", "<4> - WARN", "<4> - WARN"]
        levels += ["<3> - ERROR", "<2> - CRITICAL", "<2> - EXCEPTION"]
        assert [f"{level} - n - {name}" for level, name in zip(levels, names.split(), strict=True)] == output

    @pytest.mark.parametrize(("level", "expected"), [("error", 40), ("Warning", 30), ("CRITICAL", 50), ("loud", 20)])
    def test_a_level_is_read_in_any_case(self, level: str, expected: int) -> None:
        """``level`` sets the threshold in any case, and an unknown word means INFO."""
        assert [str(expected)] == lines_of("print(LogJam(name='n', level=sys.argv[1]).threshold)", level)

    def test_a_threshold_can_be_changed(self) -> None:
        """A plugin may make its log talkative while it runs."""
        program = "log = LogJam(name='n'); log.debug('a'); log.threshold = log.levels['DEBUG']; log.debug('b')"
        assert ["<7> - DEBUG - n - b"] == lines_of(program)

    def test_stdio_false_silences_a_terminal_but_not_a_pipe(self) -> None:
        """The journal at the other end of a pipe is served whatever ``stdio`` says."""
        program = "log = LogJam(name='n', stdio=False); log('x'); assert not log.stdio and not log.tty"
        assert ["<6> - INFO - n - x"] == lines_of(program)
        assert "" == on_terminal(program)


class TestRobustness:
    """Texts that attack, arguments that fail, outputs that are gone."""

    def test_a_record_cannot_forge_another_line(self) -> None:
        """Line feeds, terminal sequences and Unicode line ends in texts and names are written as escapes."""
        program = r"LogJam(name='a\nb')('x\n<2> - CRITICAL - root - forged\r\x1b[2J\u2028')"
        expected = "<6> - INFO - a\\nb - x\\n<2> - CRITICAL - root - forged\\r\\x1b[2J\\u2028\n"
        assert expected == run(program).stdout

    def test_a_failing_str_does_not_reach_the_caller(self) -> None:
        """An argument whose ``__str__`` raises is shown by its type."""
        program = "class Odd:\n    def __str__(self): raise RuntimeError\nLogJam(name='n')('got', Odd(), 'x')"
        assert ["<6> - INFO - n - got <Odd> x"] == lines_of(program)

    def test_a_lone_surrogate_is_written_somehow(self) -> None:
        """Text that is not valid Unicode does not raise."""
        assert lines_of(r"LogJam(name='n')('a\udc80b')")[0].startswith("<6> - INFO - n - a")

    def test_arguments_below_the_threshold_are_not_formatted(self) -> None:
        """A debug call that is not shown costs no ``str()``."""
        program = "class Loud:\n    def __str__(self): print('called'); return ''\nLogJam(name='n').debug(Loud())"
        assert [] == lines_of(program)

    def test_a_closed_pipe_and_a_full_disk_do_not_raise(self) -> None:
        """A reader that went away or a disk without room loses lines, nothing else."""
        program = """
            import os
            reader, writer = os.pipe(); os.dup2(writer, 1); os.close(reader); os.close(writer)
            LogJam(name='n', file='/dev/full')('lost')
            os.write(2, b'alive')
        """
        assert "alive" == run(program).stderr

    def test_lines_of_threads_stay_whole(self, tmp_path: Path) -> None:
        """Lines longer than a pipe's atomic size are not mixed, on standard output as in the file."""
        program = """
            import threading
            log = LogJam(name='n', file=sys.argv[1])
            def work(letter):
                for _ in range(50): log(letter * 9000)
            threads = [threading.Thread(target=work, args=(letter,)) for letter in 'abcd']
            [thread.start() for thread in threads]; [thread.join() for thread in threads]
        """
        output = lines_of(program, tmp_path / "n.log")
        texts = [line.rpartition(" - ")[2] for line in output]
        assert sorted(letter * 9000 for letter in "abcd" * 50) == sorted(texts)
        assert texts == [line.rpartition(" - ")[2] for line in (tmp_path / "n.log").read_text().splitlines()]

    def test_an_unwritable_file_is_named(self, tmp_path: Path) -> None:
        """The error is the fitting OSError and carries path and reason."""
        program = """
            try: LogJam(name='n', file=sys.argv[1])
            except FileNotFoundError as error: print(error.filename, error.strerror)
        """
        assert [f"{tmp_path}/no/n.log No such file or directory"] == lines_of(program, tmp_path / "no" / "n.log")

    @pytest.mark.parametrize("call", ["LogJam()", "LogJam(name='')", "LogJam(name=None)"])
    def test_a_log_needs_a_name(self, call: str) -> None:
        """A missing or empty name is a ValueError that says what to write."""
        program = f"try: {call}\nexcept ValueError as error: print(error)"
        assert ["a log needs a name: LogJam(name='...')"] == lines_of(program)


class TestException:
    """``exception()`` shows what is being handled."""

    def test_the_traceback_is_in_the_record(self) -> None:
        """Inside ``except`` the traceback follows the text, on the same line."""
        program = "try: 1 / 0\nexcept ZeroDivisionError as error: LogJam(name='n').exception('Oh:', error)"
        (line,) = lines_of(program)
        assert line.startswith("<2> - EXCEPTION - n - Oh: division by zero\\nTraceback (most recent call last):\\n")
        assert line.endswith("\\nZeroDivisionError: division by zero")

    def test_without_an_exception_it_is_an_ordinary_record(self) -> None:
        """Outside ``except`` there is nothing to append."""
        assert ["<2> - EXCEPTION - n - x"] == lines_of("LogJam(name='n').exception('x')")


class TestClass:
    """What a Python class of that name could do."""

    def test_it_can_be_subclassed_with_other_arguments(self) -> None:
        """A subclass has its own constructor, attributes and overrides."""
        program = """
            class Mine(LogJam):
                def __init__(self, tag):
                    super().__init__(name='n')
                    self.tag = tag
                def info(self, *args): super().info(self.tag, *args)
            Mine('tag').info('x')
        """
        assert ["<6> - INFO - n - tag x"] == lines_of(program)

    def test_a_file_and_a_name_are_kept_as_given(self, tmp_path: Path) -> None:
        """``file`` is the path that was named, relative or not; a name need not be text."""
        program = "import os; os.chdir(sys.argv[1]); log = LogJam(name=5, file='n.log'); log('x'); print(log.file)"
        assert ["<6> - INFO - 5 - x", "n.log"] == lines_of(program, tmp_path)

    def test_a_log_of_a_file_moved_away_writes_where_it_was_told(self, tmp_path: Path) -> None:
        """Whoever opens a path means the file that is there now, not one that another log still holds."""
        program = """
            import os
            first = LogJam(name='n', file=sys.argv[1]); first('old')
            os.rename(sys.argv[1], sys.argv[1] + '.1')
            LogJam(name='n', file=sys.argv[1])('new')
        """
        lines_of(program, tmp_path / "n.log")
        assert (tmp_path / "n.log").read_text().endswith(" - n - INFO - new\n")

    def test_a_subclass_that_forgets_the_constructor_is_told(self) -> None:
        """Logging before ``__init__`` raises an error that names it."""
        program = """
            class Mine(LogJam):
                def __init__(self): pass
            try: Mine()('x')
            except RuntimeError as error: print(error)
        """
        assert ["LogJam.__init__() has not been called"] == lines_of(program)

    def test_its_attributes_can_be_read(self, tmp_path: Path) -> None:
        """The attributes of pluginserver's class are there, and weak references and own attributes work."""
        program = """
            import weakref
            log = LogJam(name='n', file=sys.argv[1])
            log.mine = weakref.ref(log)
            assert log.mine() is log
            print(log.name, log.file, log.stdio, log.tty, log.threshold, sorted(log.levels.items()))
        """
        levels = {"DEBUG": 10, "INFO": 20, "WARN": 30, "ERROR": 40, "CRITICAL": 50, "EXCEPTION": 50}
        file = tmp_path / "n.log"
        assert [f"n {file} True False 20 {sorted(levels.items())}"] == lines_of(program, file)


class TestCommonLog:
    """``common_log`` and where its line goes."""

    LINE = r'192\.0\.2\.7 - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "GET /a HTTP/1\.1" 200 0'
    ARGUMENTS = "ip='192.0.2.7', path='/a', size=0, method='GET', protocol='HTTP/1.1', status=200"

    def test_the_line_is_returned_and_logged(self) -> None:
        """Without a file the line goes to the log at INFO; a size of 0 is a size."""
        logged, returned = lines_of(f"print(LogJam(name='n').common_log({self.ARGUMENTS}))")
        assert re.fullmatch(self.LINE, returned)
        assert f"<6> - INFO - n - {returned}" == logged

    def test_arguments_may_be_positional(self) -> None:
        """The order is ip, path, size, method, protocol, status, file."""
        program = "print(LogJam(name='n', level='error').common_log('192.0.2.7', '/a', 0, 'GET', 'HTTP/1.1', 200))"
        assert re.fullmatch(self.LINE, lines_of(program)[0])

    def test_a_path_is_appended_to(self, tmp_path: Path) -> None:
        """With a path, as text or as a Path, the line goes there and not to the log."""
        program = f"""
            import pathlib
            for file in sys.argv[1], pathlib.Path(sys.argv[1]):
                LogJam(name='n').common_log({self.ARGUMENTS}, file=file)
        """
        assert [] == lines_of(program, tmp_path / "access")
        assert re.fullmatch(f"({self.LINE}\n){{2}}", (tmp_path / "access").read_text())

    def test_an_open_file_is_written_to(self) -> None:
        """With an open file the line is written to it."""
        (line,) = lines_of(f"LogJam(name='n').common_log({self.ARGUMENTS}, file=sys.stdout)")
        assert re.fullmatch(self.LINE, line)

    def test_a_path_cannot_forge_a_field_or_a_line(self) -> None:
        """Quotes and line feeds in a requested path are escaped."""
        program = r"""
            log = LogJam(name='n', level='error')
            print(log.common_log('::1', '/a" 200 9\n::2', 3, 'GET', 'HTTP', 'OK', user_auth='eva', timestamp=0))
        """
        (line,) = lines_of(program)
        assert line.startswith("::1 - eva [")
        assert line.endswith('"GET /a\\" 200 9\\n::2 HTTP" OK 3')


class TestLoggingBridge:
    """Python's own ``logging`` in the same stream."""

    INSTALL = "import logging, warnings\nfrom plugincore.logjam import install_handler\ninstall_handler(20)\n"

    def test_records_come_under_their_loggers_name(self) -> None:
        """Levels are mapped, and the threshold given is the root logger's."""
        program = self.INSTALL + "log = logging.getLogger('asyncio')\n"
        program += "log.debug('no'); log.info('a %s', 1); log.warning('b'); log.error('c'); log.critical('d')"
        expected = ["<6> - INFO - asyncio - a 1", "<4> - WARN - asyncio - b"]
        expected += ["<3> - ERROR - asyncio - c", "<2> - CRITICAL - asyncio - d"]
        assert expected == lines_of(program)

    def test_a_traceback_is_part_of_the_line(self) -> None:
        """``exc_info`` is written out, escaped."""
        program = self.INSTALL + "try: 1 / 0\nexcept ZeroDivisionError: logging.getLogger('x').exception('oh')"
        (line,) = lines_of(program)
        assert line.startswith("<3> - ERROR - x - oh\\nTraceback (most recent call last):\\n")
        assert line.endswith("ZeroDivisionError: division by zero")

    def test_nothing_is_printed_raw(self) -> None:
        """Warnings and records that cannot be formatted are lines of the log; stderr stays empty."""
        program = self.INSTALL + "warnings.warn('old')\nlogging.getLogger('x').error('%d', 'no number')"
        done = run(program)
        warning, broken = done.stdout.splitlines()
        assert "" == done.stderr
        assert warning.startswith("<4> - WARN - py.warnings - ")
        assert broken.startswith("<3> - ERROR - x - a log record of <string>:")

    def test_a_record_of_odd_parts_does_not_raise(self) -> None:
        """An argument, an exception and a logger's name that cannot be shown are survived."""
        program = self.INSTALL + textwrap.dedent(r"""
            class Odd(Exception):
                def __str__(self): raise self
            logging.getLogger('\udc80').error('%s', Odd())
        """)
        assert "cannot be formatted: Odd: " in run(program).stdout

    def test_an_application_that_set_up_logging_is_left_alone(self) -> None:
        """With a handler on the root logger nothing is installed."""
        program = "import logging; logging.basicConfig(stream=sys.stdout, format='mine %(message)s')\n"
        program += self.INSTALL + "logging.error('x')"
        assert ["mine x"] == lines_of(program)

    def test_basic_config_in_a_plugin_does_not_double_lines(self) -> None:
        """The bridge counts as set-up, so a later ``basicConfig`` changes nothing."""
        program = self.INSTALL + "logging.basicConfig(stream=sys.stdout)\nlogging.error('x')"
        assert ["<3> - ERROR - root - x"] == lines_of(program)
