from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from documents.errors import DocumentError, Malformed, Unreadable
from documents.reading import MAX_DOCUMENT, Path, Piece, Refusal, Tree, pieces, show


def only(text: str | bytes) -> Piece:
    (piece,) = pieces("a.yaml", text if isinstance(text, bytes) else text.encode())
    assert isinstance(piece, Piece)
    return piece


def tree(text: str) -> Tree:
    return only(text).tree()


def refusal(text: str) -> Refusal:
    with pytest.raises(Refusal) as caught:
        tree(text)
    return caught.value


def error_of(data: bytes) -> DocumentError:
    (error,) = pieces("a.yaml", data)
    assert isinstance(error, DocumentError)
    return error


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("2024-01-01", "2024-01-01"),
        ("12:30:45", "12:30:45"),
        ("0755", "0755"),
        ("0x1f", "0x1f"),
        ("1_000", "1_000"),
        (".inf", ".inf"),
        ("9" * 100, "9" * 100),
        ("5xx", "5xx"),
        ("1.2.3.4", "1.2.3.4"),
        ('"80"', "80"),
        ("80", 80),
        ("-3", -3),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("true", True),
        ("~", None),
        ("", None),
        ("=", "="),
        ("<<", "<<"),
    ],
)
def test_plain_scalars_are_what_they_look_like(text: str, value: object) -> None:
    assert tree(f"a: {text}") == {"a": value}


def test_keys_are_text() -> None:
    assert tree("on: 1\n80: 2\nnull: 3") == {"on": 1, "80": 2, "null": 3}


def test_documents_are_told_apart_and_know_their_lines() -> None:
    data = (
        b"# first\n---\na: 1\n---\n# nothing here\n--- {b: 2}\n...\n# still nothing\n---\r\nc: |\r\n  x\r\n"
    )
    found = list(pieces("a.yaml", data))
    assert [(piece.line, piece.tree()) for piece in found if isinstance(piece, Piece)] == [
        (2, {"a": 1}),
        (6, {"b": 2}),
        (9, {"c": "x\n"}),
    ]


def test_a_byte_order_mark_is_no_content() -> None:
    assert only(b"\xef\xbb\xbfa: 1").tree() == {"a": 1}


@pytest.mark.parametrize(
    ("text", "reason", "line"),
    [
        ("a: 1\nb: [1, 2", "not YAML: did not find expected ',' or ']'", 3),
        ("a:\n\tb: 1", "not YAML: found character that cannot start any token", 2),
        ("a: &x 1", "the anchor &x is not allowed", 1),
        ("a: 1\nb: *x", "the alias *x is not allowed", 2),
        (
            "a: !!python/object:os.system x",
            "the tag tag:yaml.org,2002:python/object:os.system is not allowed",
            1,
        ),
        ("a: 1\n? [b]\n: 2", "a key must be plain text", 2),
        ("a: 1\r---\rb: 2", "a second document begins here", 2),
        ("a: \x07", "not YAML: ", 1),
    ],
)
def test_refused(text: str, reason: str, line: int) -> None:
    refused = refusal(text)
    assert refused.reason.startswith(reason)
    assert refused.line == line
    assert refused.remedy


@pytest.mark.parametrize(
    ("text", "path"),
    [("a: 1\na: 2", "a"), ("l:\n- n: 0\n- n: 1\n  n: 2", "l[1].n"), ("a: {b: {c: 1, c: 2}}", "a.b.c")],
)
def test_a_key_given_twice_is_refused_where_it_is(text: str, path: str) -> None:
    assert show(refusal(text).path) == path


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "- " * 5_000 + "x", "{a: " * 3_000, "a: " + "[" * 65 + "]" * 65]
)
def test_depth_is_bounded(text: str) -> None:
    assert "nested more than 64 levels deep" in refusal(text).reason


def test_ten_megabytes_of_nonsense_are_refused_at_once() -> None:
    start = time.process_time()
    error = error_of(b"lorem: [ipsum\n" * 750_000)
    assert isinstance(error, Unreadable)
    assert str(error) == (
        "a.yaml: the file has 10,500,000 bytes; at most 8 MiB are read, and 1 MiB of one document. "
        "Split it, or move what is not configuration elsewhere"
    )
    assert time.process_time() - start < 0.5


def test_a_document_has_a_limit_of_its_own() -> None:
    large = b"a: " + b"x" * MAX_DOCUMENT + b"\n"
    found = list(pieces("a.yaml", b"b: 1\n---\n" + large + b"---\nc: 1\n"))
    assert isinstance(found[1], Malformed)
    assert "document 2: the document has 1,048,584 bytes; at most 1 MiB is read" in str(found[1])
    assert isinstance(found[2], Piece)


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"a: \0", "NUL"), ("a: ü".encode("utf-16"), "UTF-16"), (b"a: \xff", "byte 4 of the file is not UTF-8")],
)
def test_what_is_not_text(data: bytes, reason: str) -> None:
    error = error_of(data)
    assert isinstance(error, Unreadable)
    assert reason in str(error)


def test_the_line_of_a_path() -> None:
    piece = only("# 1\na: 1\nb:\n  c: {d: [x,\n    y]}\nl:\n- m: 1\n  n: 2\n- o\n")
    expected: dict[Path, int] = {
        ("a",): 2,
        ("b", "c"): 4,
        ("b", "c", "d", 1): 5,
        ("l", 0, "n"): 8,
        ("l", 1): 9,
        ("l", 7): 6,
        ("nowhere",): 2,
    }
    assert {path: piece.lines().of(path) for path in expected} == expected


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for piece in pieces("a.yaml", data):
        if isinstance(piece, Piece):
            with contextlib.suppress(Refusal):
                piece.tree()


scalars = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text("aé0-: #'\"\n", max_size=8)
trees = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab:1 ", max_size=4), inner, max_size=3)
    ),
)


@given(trees)
def test_json_is_read_as_json(value: object) -> None:
    import json

    found = [
        piece.tree()
        for piece in pieces("a.yaml", json.dumps(value, indent=1).encode())
        if isinstance(piece, Piece)
    ]
    assert found == [value]
