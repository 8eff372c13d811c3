"""What README and docs print can be used as it is printed: each code block is tried, from the top of a page to its end.

A block that no rule covers fails, so that every new one is decided upon. ``doc_pages.py`` says by which comments a page
brings what its blocks need, ``doc_reader.py`` what is done with a block of each kind.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from doc_pages import PAGES, PROJECT, Step, headings, links, read, steps
from doc_reader import NOT_RUN, Reader, not_run


def follow(page: list[Step], folder: Path) -> list[str]:
    """Follow a page to its end; return what is wrong with its steps."""
    reader = Reader(folder)
    faults = []
    try:
        for step in page:
            try:
                reader.follow(step)
            except Exception as error:
                faults.append(f"{step.place}: {type(error).__name__}: {error}")
    finally:
        reader.machine.end()
    return faults


@pytest.mark.parametrize("name", PAGES)
def test_every_code_block_of_a_page_works_as_printed(name: str, tmp_path: Path) -> None:
    """Plugins are served, tests and scripts run, ini files started with, commands given, their output compared."""
    faults = follow(read(name), tmp_path)
    assert not faults, "\n\n".join(faults)


@pytest.mark.parametrize("name", [*PAGES, "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_every_link_to_a_file_or_heading_leads_there(name: str) -> None:
    """Links inside of the repository name what is there."""
    lost = []
    for link in links(name):
        path, _, anchor = link.partition("#")
        file = ((PROJECT / name).parent / path).resolve() if path else PROJECT / name
        if not file.exists() or (anchor and anchor not in headings(file)):
            lost.append(link)
    assert not lost


def test_every_reason_for_not_running_a_command_is_needed() -> None:
    """The list holds no command that no page prints any more."""
    lines = [line for name in PAGES for step in read(name) if step.kind == "sh" for line in step.text.splitlines()]
    assert set(NOT_RUN) == {row for line in lines if (row := not_run(line))}


@pytest.mark.parametrize(
    ("page", "fault"),
    [
        ("```rust\nfn main() {}\n```", "no rule for a block of kind 'rust'"),
        ("```\nanything\n```", "no rule for a block of kind ''"),
        ("    indented\n", "no rule for a block of kind ''"),
        ("```json\n{}\n```", "whose output"),
        ("```text\n{}\n```", "whose output"),
        ("```sh\necho {}\n```\n\nand then\n\n```text\n{}\n```", "whose output"),
        ("```sh\necho 1\n```\n\n```text\n2\n```", "the output is\n1"),
        ("```sh\nfalse\n```", "exit code 1"),
        ("```sh\ncurl http://127.0.0.1:9192/greta\ncurl http://127.0.0.1:9192/greet\n```", "exit code 22"),
        ("```sh\nmake 'all\n```", "unexpected EOF"),
        ("```python\nprint(Greet)\n```", "NameError"),
        ("```python\ndef test_it():\n    assert 1 == 2\n```", "assert 1 == 2"),
        ("```ini\n[netwrk]\nport = 1\n```", "netwrk"),
        ("```ini\n[server]\nio_threads = x\n```", "[server] io_threads: must be"),
        (
            "```python\nfrom plugincore.baseplugin import BasePlugin\n\n\nclass Odd(BasePlugin):\n"
            "    def request_handler(self, **data):\n        return odd\n```",
            "/odd: 500",
        ),
        ("<!-- test: needs plugins/unknown.py -->", "neither the repository nor a page has plugins/unknown.py"),
    ],
)
def test_a_block_that_does_not_work_is_found(page: str, fault: str, tmp_path: Path) -> None:
    """Nothing passes because it was not looked at."""
    faults = follow(list(steps("page.md", page)), tmp_path)
    assert [True] == [one.startswith("page.md:") and fault in one for one in faults], faults


@pytest.mark.parametrize(
    ("page", "fault"),
    [
        ("<!-- test: nonsense 1 -->\n```sh\ntrue\n```", "nonsense is no word"),
        ("<!-- test: log in broken -->\n\nText.", "belongs directly above a block"),
        ("<!-- test: warns nothing -->", "belongs directly above a block"),
        ("<!-- test: -->", "not understood"),
    ],
)
def test_a_comment_that_is_not_understood_is_found(page: str, fault: str) -> None:
    """A slip in a comment does not make it one that says nothing."""
    with pytest.raises(AssertionError, match=fault):
        list(steps("page.md", page))
