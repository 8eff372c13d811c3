"""README and the pages of docs as the steps that a reader takes, from the top of a page to its end.

Every code block is a step. What a reader brings along stands in comments, which no rendering shows:

    <!-- test: needs plugins/sessman.py -->   a file of the repository, or a plugin that another page prints
    <!-- test: file pserve.ini                a file that the reader has written before
    [paths]
    plugins = ./plugins
    -->

Directly above a block, a comment says how to take the block where its kind does not tell:

    <!-- test: file plugins/clock.json -->    it is this file
    <!-- test: requests /a 200, /b 404 -->    ask the plugin for these, in place of its id alone
    <!-- test: warns TEXT -->                 the start with this ini file warns of this, and of nothing else
    <!-- test: log in broken -->              the server writes these lines when it is started in this folder
    <!-- test: unchecked REASON -->           nothing in it can be tried

Caveat: only the first line of a comment is read for its word; a file must not contain what ends a comment.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt

PROJECT = Path(__file__).parent.parent.parent
PAGES = sorted(str(page.relative_to(PROJECT)) for page in [PROJECT / "README.md", *PROJECT.glob("docs/**/*.md")])

COMMENT = re.compile(r"<!-- test: (?P<word>\w+)(?: (?P<value>[^\n]*?))?(?:\n(?P<text>.*?))? ?-->\s*", re.DOTALL)


@dataclass(frozen=True)
class Step:
    """One thing that a page has its reader do.

    Attributes:
        place: File and line, such as ``docs/tls.md:54``.
        kind: The language of a block; ``needs`` or ``file`` for a comment that stands for itself.
        text: The block's content, or that of the file in a comment; for ``needs`` a name.
        notes: What the comments directly above the block say, by their word.
        after_commands: Whether nothing stands between the block and the commands whose output it is.

    """

    place: str
    kind: str
    text: str
    notes: dict[str, str] = field(default_factory=dict)
    after_commands: bool = False


def steps(name: str, source: str) -> Iterator[Step]:
    """Yield the steps of the page ``name`` whose text is ``source``."""
    notes: dict[str, str] = {}
    commands = False
    for token in MarkdownIt("commonmark").enable("table").parse(source):
        place = f"{name}:{token.map[0] + 1 if token.map else 0}"
        if token.type in ("fence", "code_block"):
            yield Step(place, token.info.strip(), token.content, notes, commands)
            commands = token.info.strip() == "sh"
            notes = {}
        elif token.type == "html_block" and token.content.startswith("<!-- test:"):
            found = COMMENT.fullmatch(token.content)
            assert found, f"{place}: this comment is not understood"
            word, value, text = found["word"], found["value"] or "", found["text"]
            if word == "needs":
                yield Step(place, word, value)
            elif word == "file" and text is not None:
                yield Step(place, word, text, {"file": value})
            else:
                known = word in ("file", "requests", "warns", "log", "unchecked")
                assert known, f"{place}: {word} is no word of these comments"
                notes[word] = value
        else:
            assert not notes, f"{place}: the comment above belongs directly above a block"
            commands = False
    assert not notes, f"{name}: its last comment belongs directly above a block"


def read(name: str) -> list[Step]:
    """Return the steps of a page of the repository."""
    return list(steps(name, (PROJECT / name).read_text()))


def links(name: str) -> list[str]:
    """Return where a page links to inside of the repository."""
    blocks = MarkdownIt("commonmark").enable("table").parse((PROJECT / name).read_text())
    pieces = [piece.attrs for block in blocks for piece in block.children or ()]
    targets = [str(attributes.get("href") or attributes.get("src") or "") for attributes in pieces]
    return [target for target in targets if target and "://" not in target]


@cache
def headings(file: Path) -> set[str]:
    """Return the anchors that GitHub makes of a page's headings."""
    tokens = MarkdownIt("commonmark").parse(file.read_text())
    titles = [after.content for token, after in pairwise(tokens) if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def plugin_ids(source: str) -> list[str]:
    """Return the ids of the plugins that Python code defines: the names of their classes in lower case."""
    classes = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    return [one.name.lower() for one in classes if any(ast.unparse(base) == "BasePlugin" for base in one.bases)]


def tests(source: str) -> list[str]:
    """Return the names of the tests that Python code defines."""
    functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [one.name for one in functions if one.name.startswith("test_")]


@cache
def printed_plugins() -> dict[str, str]:
    """Return the sources of the plugins that the pages print, by the names of their files."""
    blocks = [step.text for name in PAGES for step in read(name) if step.kind == "python"]
    return {f"plugins/{ids[0]}.py": text for text in reversed(blocks) if (ids := plugin_ids(text))}
