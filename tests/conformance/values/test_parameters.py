"""``[plugin_parms]``: what a plugin gets of a parameter string."""

from __future__ import annotations

from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.ledger import LEDGER
from conformance.values.parameter_cases import case_of, cases
from conformance.values.sides import Case, Sides


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case.name)
def test_fixed_strings(sides: Sides, case: Case) -> None:
    """A parameter string becomes the same keyword arguments on both sides."""
    LEDGER.judge("fixed", case, *sides.compare(case))


STRINGS = st.lists(
    st.one_of(
        st.sampled_from(
            ["a", "b", "json", "=", "=", "&", "&", ";", "+", "%", "%20", "%C3%A9", "%E9", "%26", "%3D", "1", ":"]
        ),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=3),
        st.integers(0, 255).map(lambda byte: f"%{byte:02x}"),
    ),
    max_size=8,
).map("".join)


def names_no_file(text: str) -> bool:
    """Whether a string asks for no file of parameters, which would not be there."""
    return "json:" not in text and "json" not in parse_qs(text)


@pytest.mark.timeout(1200)
@given(texts=st.lists(STRINGS.filter(names_no_file), min_size=1, max_size=8))
def test_generated_strings(sides: Sides, texts: list[str]) -> None:
    """Any parameter string becomes what ``parse_qs`` makes of it, first values first, on both sides."""
    case = case_of(texts)
    original, ours = sides.compare(case)
    LEDGER.judge("generated", case, original, ours)
    for number, text in enumerate(texts):
        for name, values in parse_qs(text).items():
            if name not in {"prog_args", "config"}:
                assert values[0] == ours[f"{number}.'got'.{name!r}"]
