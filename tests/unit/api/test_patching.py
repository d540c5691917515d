"""Patches: the examples of their RFCs, and what must not be."""

from __future__ import annotations

from typing import Any

import pytest

from api.errors import ApiError, Conflicting, Unprocessable
from api.patching import JsonPatch, merged, patched


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [  # RFC 7396, appendix A
        ({"a": "b"}, {"a": "c"}, {"a": "c"}), ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}), ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}), ({"a": ["b"]}, {"a": "c"}, {"a": "c"}), ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}), ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]), ({"a": "foo"}, None, None), ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}), ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)  # fmt: skip
def test_merge_patch(target: Any, patch: Any, result: Any) -> None:
    assert merged(target, patch) == result


def of(*operations: dict[str, Any]) -> JsonPatch:
    return JsonPatch.model_validate(list(operations))


@pytest.mark.parametrize(
    ("target", "operation", "result"),
    [  # RFC 6902, appendix A
        ({"foo": "bar"}, {"op": "add", "path": "/baz", "value": "qux"}, {"foo": "bar", "baz": "qux"}),
        ({"foo": ["bar", "baz"]}, {"op": "add", "path": "/foo/1", "value": "qux"}, {"foo": ["bar", "qux", "baz"]}),
        ({"baz": "qux", "foo": "bar"}, {"op": "remove", "path": "/baz"}, {"foo": "bar"}),
        ({"foo": ["bar", "qux", "baz"]}, {"op": "remove", "path": "/foo/1"}, {"foo": ["bar", "baz"]}),
        ({"baz": "qux"}, {"op": "replace", "path": "/baz", "value": "boo"}, {"baz": "boo"}),
        ({"foo": {"bar": "baz"}, "qux": {}}, {"op": "move", "from": "/foo/bar", "path": "/qux/thud"}, {"foo": {}, "qux": {"thud": "baz"}}),
        ({"foo": ["all", "grass", "cows", "eat"]}, {"op": "move", "from": "/foo/1", "path": "/foo/3"}, {"foo": ["all", "cows", "eat", "grass"]}),
        ({"baz": "qux"}, {"op": "test", "path": "/baz", "value": "qux"}, {"baz": "qux"}),
        ({"foo": ["bar"]}, {"op": "add", "path": "/foo/-", "value": ["abc"]}, {"foo": ["bar", ["abc"]]}),
        ({"/": 9, "~1": 10}, {"op": "test", "path": "/~01", "value": 10}, {"/": 9, "~1": 10}),
        ({"a": {"b": 1}}, {"op": "copy", "from": "/a", "path": "/c"}, {"a": {"b": 1}, "c": {"b": 1}}),
        ({"a": 1}, {"op": "replace", "path": "", "value": {"b": 2}}, {"b": 2}),
    ],
)  # fmt: skip
def test_json_patch(target: Any, operation: dict[str, Any], result: Any) -> None:
    assert patched(target, of(operation)) == result


@pytest.mark.parametrize(
    ("operation", "error"),
    [
        ({"op": "test", "path": "/a", "value": True}, Conflicting),
        ({"op": "test", "path": "/a", "value": "1"}, Conflicting),
        ({"op": "remove", "path": "/b"}, Unprocessable),
        ({"op": "replace", "path": "/b", "value": 1}, Unprocessable),
        ({"op": "add", "path": "/b/c", "value": 1}, Unprocessable),
        ({"op": "add", "path": "/l/9", "value": 1}, Unprocessable),
        ({"op": "add", "path": "/l/01", "value": 1}, Unprocessable),
        ({"op": "add", "path": "/a"}, Unprocessable),
        ({"op": "move", "path": "/d/e", "from": "/d"}, Unprocessable),
        ({"op": "copy", "path": "/x"}, Unprocessable),
        ({"op": "remove", "path": ""}, Unprocessable),
    ],
)
def test_what_cannot_be(operation: dict[str, Any], error: type[ApiError]) -> None:
    target: Any = {"a": 1, "l": [1], "d": {"e": 1}}
    with pytest.raises(error):
        patched(target, of(operation))
    assert target == {"a": 1, "l": [1], "d": {"e": 1}}


def test_a_patch_that_copies_a_document_into_itself_is_stopped() -> None:
    bomb = of(*({"op": "copy", "from": "", "path": f"/x{n}"} for n in range(60)))
    with pytest.raises(Unprocessable, match="copies more than"):
        patched({"a": 1}, bomb)
