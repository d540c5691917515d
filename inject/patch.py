"""The JSON patch (RFC 6902) from one manifest to another, which is how a mutating webhook answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from inject.names import Json


def patch(old: Any, new: Any, path: str = "") -> Iterator[Json]:
    """Operations that make `new` of `old`, in the order in which they are to be applied.

    Objects are compared field by field, lists of one length element by element; a list of another length is replaced whole: it is
    the smaller answer where elements come first.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        for name in old.keys() - new.keys():
            yield {"op": "remove", "path": f"{path}/{_escaped(name)}"}
        for name, value in new.items():
            at = f"{path}/{_escaped(name)}"
            if name in old:
                yield from patch(old[name], value, at)
            else:
                yield {"op": "add", "path": at, "value": value}
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from patch(before, after, f"{path}/{number}")
    elif old != new or type(old) is not type(new):
        yield {"op": "replace", "path": path, "value": new}


def _escaped(name: str) -> str:
    """RFC 6901."""
    return name.replace("~", "~0").replace("/", "~1")
