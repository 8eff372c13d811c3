"""Generated ini files, on both sides."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.ledger import LEDGER
from conformance.values.ini_cases import LOOK, VARIABLES
from conformance.values.sides import Case, Sides

SECTIONS = st.sampled_from(["a", "b", "A", "DEFAULT", "a b", "größe", "x.y", "1", "if", "c]"])
KEYS = st.sampled_from(["k", "n", "l", "t", "K", "two words", "ö", "x-y", "x.y", "1", "id", "get", "_u"])
#: What values are put together from.
PIECES = st.one_of(
    st.sampled_from(
        [
            *("int:", "float:", "bool:", "list:", "int:4", "float:2.5", "bool:on", "list:a b", "list:int:1"),
            *(
                "${k}",
                "${n}",
                "${l}",
                "${t}",
                "${a:k}",
                "${b:n}",
                "${a:l}",
                "${DEFAULT:t}",
                "${A:k}",
                "${a b:two words}",
            ),
            *(
                "${ENV:V_TEXT}",
                "${ENV:V_INT}",
                "${ENV:V_LIST}",
                "${ENV:V_NONE}",
                "${ENV:V_NUMBER}",
                "$$",
                "$",
                "${",
                "}",
            ),
            *(
                " ",
                "  ",
                "\t",
                "&",
                " & ",
                "#",
                " ; c",
                "%",
                "=",
                ":",
                "42",
                "-1",
                "0",
                "1_0",
                "2.5",
                "1e3",
                "nan",
                "inf",
            ),
            *(
                "true",
                "on",
                "enabled",
                "off",
                "a",
                "b c",
                "\n ",
                "\n  more",
                "\n\n ",
                "\u00a0",
                "é",
                "☃",
                "𝄞",
                "\x1c",
                "''",
            ),
        ]
    ),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r"), max_size=4),
)
VALUES = st.lists(PIECES, max_size=5).map("".join)
LINES = st.one_of(
    st.builds(
        lambda key, delimiter, value: f"{key}{delimiter}{value}",
        KEYS,
        st.sampled_from([" = ", "=", ": ", ":", " : ", " =", " "]),
        VALUES,
    ),
    st.builds(lambda key, value: f"{key} = {value}", KEYS, VALUES),
    st.builds(lambda key, value: f"{key} = {value}", KEYS, VALUES),
    st.sampled_from(["", " ", "# comment", "; comment", "  # indented", "  continued", "\tcontinued", "stray"]),
)


@st.composite
def files(draw: st.DrawFn) -> str | bytes:
    """Draw an ini file, wrong ones among them."""
    lines = []
    # Names that repeat are an error in both readers; most files ought to get past that.
    for section in draw(st.lists(SECTIONS, min_size=1, max_size=4, unique=draw(st.integers(0, 9)) > 0)):
        lines.append(f"[{section}]")
        body = draw(st.lists(LINES, max_size=5, unique_by=lambda line: line.partition(" ")[0].lower()))
        lines.extend(body)
    end = draw(st.sampled_from(["\n", "\n", "\n", "\r\n", "\r"]))
    text = (end.join(lines) + end).replace("\n", end) if end != "\n" else "\n".join(lines) + "\n"
    return draw(st.sampled_from(["", "", "", "", "", "\ufeff"])) + text


@pytest.mark.timeout(1200)
@given(text=files())
def test_files(sides: Sides, text: str) -> None:
    """A file gives the same ``Config`` on both sides, or the same kind of error, or what the table says."""
    case = Case("ini", LOOK, {"server.ini": text}, VARIABLES)
    LEDGER.judge("generated", case, *sides.compare(case))


@pytest.mark.timeout(1200)
@given(value=VALUES, prefix=st.sampled_from(["", "", "int:", "float:", "bool:", "list:"]))
def test_single_values(sides: Sides, value: str, prefix: str) -> None:
    """A single value among well-known ones is read alike."""
    text = f"[DEFAULT]\nt = text\n[a]\nn = int:42\nl = list:x int:1\nk = {prefix}{value}\n[b]\nn = of ${{a:n}}\n"
    case = Case("ini", LOOK, {"server.ini": text}, VARIABLES)
    LEDGER.judge("generated", case, *sides.compare(case))


@pytest.mark.timeout(1200)
@given(
    text=files(),
    prefix=st.sampled_from([None, "", "p", "A b"]),
    given_names=st.dictionaries(
        st.sampled_from(["A_K", "A_N", "B_K", "P_A_K", "P_B_N", "A B_A_T", "DEFAULT_K", "A_ID"]),
        st.sampled_from(["x", "", "int:2", "list:a b", "$$", "${k}", "int:x", "bool:on"]),
    ),
)
def test_overrides(sides: Sides, text: str, prefix: str | None, given_names: dict[str, str]) -> None:
    """Overrides by the environment do the same on both sides."""
    options = {"env_override": True, "env_prefix": prefix}
    case = Case("ini", LOOK, {"server.ini": text}, {**VARIABLES, **given_names}, options)
    LEDGER.judge("generated", case, *sides.compare(case))
