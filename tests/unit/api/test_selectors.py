"""Selectors, as Kubernetes writes them, and what is none."""

from __future__ import annotations

import pytest

from api.errors import Unprocessable
from api.paging import Place, page, place, token
from api.selectors import BadSelector, field_selector, fields_match, label_selector, labels_match
from documents.reading import Tree
from mesh.names import Key

LABELS = {"app": "web", "tier": "front", "example.org/part": "a"}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True), ("app", True), ("!app", False), ("none", False), ("!none", True), ("app=web", True), ("app==web", True),
        ("app = web", True), ("app!=web", False), ("none!=x", True), ("app=web,tier=front", True), ("app=web,tier=back", False),
        ("app in (web, api)", True), ("app in (api)", False), ("app notin (api)", True), ("none notin (api)", True), ("tier in (front),app", True),
        ("example.org/part=a", True), ("app=", False),
    ],
)  # fmt: skip
def test_labels(text: str, matches: bool) -> None:
    assert labels_match(label_selector(text), LABELS) is matches


@pytest.mark.parametrize(
    "text",
    [
        ",",
        "a,",
        "=",
        "a=b=c",
        "a in",
        "a in (",
        "a in (b",
        "a b",
        "(a)",
        "a=b c",
        "a\x00",
        "in (a)",
        ",".join("a" * 60),
    ],
)
def test_no_label_selector(text: str) -> None:
    with pytest.raises(BadSelector, match="character"):
        label_selector(text)


@pytest.mark.parametrize(
    ("text", "matches"),
    [("metadata.name=x", True), ("metadata.name!=x", False), ("spec.on=true", True), ("spec.n=3,kind=K", True), ("spec.none=", True), ("spec.list=a", False)],
)  # fmt: skip
def test_fields(text: str, matches: bool) -> None:
    document: Tree = {"kind": "K", "metadata": {"name": "x"}, "spec": {"on": True, "n": 3, "list": ["a"]}}
    assert fields_match(field_selector(text), document) is matches


@pytest.mark.parametrize("text", ["=", "a", "a=b,", "a.=b", ".a=b", "a~b"])
def test_no_field_selector(text: str) -> None:
    with pytest.raises(BadSelector):
        field_selector(text)


def test_a_page_goes_on_where_the_last_one_ended() -> None:
    names = [("K", Key("default", f"n{n}")) for n in range(5)]
    assert page(names, None, 2) == (names[:2], 3)
    assert page(names, names[1], 2) == (names[2:4], 1)
    assert page(names, ("K", Key("default", "n1x")), 9) == (names[2:], 0)
    where = Place(7, names[1])
    assert place(token(where, "this"), "this") == where
    with pytest.raises(Unprocessable, match="not from an answer of this request"):
        place(token(where, "this"), "that")
