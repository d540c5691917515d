"""Tables on any width: names stay whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from meshwright.commands.layout import Column, fold, lay

COLUMNS = (Column("name"), Column("state"), Column("why", folds=True))
ROWS = [
    ("shop/checkout-with-a-long-name", "refused", "Envoy says that the filter is not known to it"),
    ("shop/web", "ok", ""),
]


def test_without_a_width_nothing_is_folded() -> None:
    laid = lay(COLUMNS, ROWS, None)
    assert laid.heading == "name                            state    why"
    assert (
        laid.lines[0]
        == "shop/checkout-with-a-long-name  refused  Envoy says that the filter is not known to it"
    )
    assert laid.lines[1] == "shop/web                        ok"


def test_text_folds_before_anything_else() -> None:
    laid = lay(COLUMNS, ROWS, 60)
    assert laid.lines[:3] == (
        "shop/checkout-with-a-long-name  refused  Envoy says that the",
        "                                         filter is not known",
        "                                         to it",
    )


def test_what_is_too_narrow_for_a_table_becomes_paragraphs() -> None:
    laid = lay(COLUMNS, ROWS, 40)
    assert laid.heading is None
    assert laid.lines == (
        "name   shop/checkout-with-a-long-name",
        "state  refused",
        "why    Envoy says that the filter is not",
        "       known to it",
        "",
        "name   shop/web",
        "state  ok",
    )


def test_foreign_line_ends_make_no_rows() -> None:
    assert lay((Column("a"),), [("x\ny",)], None).lines == ("x ⏎ y",)


@given(st.text(alphabet="ab 漢", max_size=60), st.integers(2, 30))
def test_folding_loses_nothing_and_fits(text: str, width: int) -> None:
    folded = fold(text, width)
    assert all(cell_len(each) <= width for each in folded)
    assert "".join(folded).replace(" ", "") == text.replace(" ", "")


@pytest.mark.parametrize("width", range(10, 130, 7))
def test_names_are_never_cut(width: int) -> None:
    assert any("shop/checkout-with-a-long-name" in each for each in lay(COLUMNS, ROWS, width).lines)


@pytest.mark.parametrize("width", range(60, 130, 7))
def test_a_table_is_never_wider_than_it_may_be(width: int) -> None:
    laid = lay(COLUMNS, ROWS, width)
    assert max(cell_len(each) for each in (laid.heading or "", *laid.lines)) <= width
