from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from inject.patch import patch

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2) | st.text("a/~", max_size=2),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("a/~b", max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text("a/~b", max_size=2), VALUES, max_size=3)


def applied(document: Any, operations: list[dict[str, Any]]) -> Any:
    """RFC 6902, of which `patch` uses three operations."""
    holder = {"": copy.deepcopy(document)}
    for operation in operations:
        at: Any = holder
        *before, last = [
            part.replace("~1", "/").replace("~0", "~") for part in ("" + operation["path"]).split("/")
        ]
        for part in before:
            at = at[int(part)] if isinstance(at, list) else at[part]
        where = int(last) if isinstance(at, list) else last
        if operation["op"] == "remove":
            del at[where]
        else:
            assert (where in at if isinstance(at, dict) else True) == (operation["op"] == "replace")
            at[where] = operation["value"]
    return holder[""]


@given(OBJECTS, OBJECTS)
def test_it_leads_from_one_to_the_other(old: dict[str, Any], new: dict[str, Any]) -> None:
    made = applied(old, list(patch(old, new)))
    assert made == new
    assert repr(sorted(made)) == repr(sorted(new))


def test_what_is_equal_needs_nothing() -> None:
    assert not list(patch({"a": [1, {"b": 2}]}, {"a": [1, {"b": 2}]}))


def test_a_flag_is_no_number() -> None:
    assert list(patch({"a": 1}, {"a": True})) == [{"op": "replace", "path": "/a", "value": True}]
