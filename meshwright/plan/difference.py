"""What differs between two forms of one Envoy resource, field by field, in words that a person can read. Pure."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from google.protobuf import json_format, symbol_database
from google.protobuf.message import DecodeError, Message

from xds.types import SECRET

JsonTree: TypeAlias = "Mapping[str, JsonTree] | Sequence[JsonTree] | str | int | float | bool | None"

LONGEST = 2_000
"""Characters of a value that a change holds; what is longer is cut, and says so."""
FIELDS = 200
"""Changes of fields that are held of one resource; the rest is counted."""
UNREADABLE = "(its message is not known here)"
HIDDEN = "(not shown: a secret)"


@dataclass(frozen=True, slots=True)
class FieldChange:
    """`path` as in `virtual_hosts[api].routes[0].route.timeout`; the values as compact JSON, None where the field is not set."""

    path: str
    before: str | None
    after: str | None


def fields(before: JsonTree, after: JsonTree) -> Iterator[FieldChange]:
    """What differs, in the order of `after`. Elements of lists are told apart by their `name` where each has one of its own, else by place."""
    yield from _differences("", before, after)


def between(type_url: str, before: bytes, after: bytes) -> tuple[tuple[FieldChange, ...], int]:
    """The fields in which two serialised messages differ, and how many more there are than are held. Of secrets, that they differ alone."""
    if type_url == SECRET:
        return (FieldChange("", HIDDEN, HIDDEN),), 0
    try:
        found = tuple(fields(_tree(type_url, before), _tree(type_url, after)))
    except (TypeError, KeyError, DecodeError):  # an extension whose message is not loaded
        return (FieldChange("", UNREADABLE, UNREADABLE),), 0
    return found[:FIELDS], max(0, len(found) - FIELDS)


def _tree(type_url: str, body: bytes) -> JsonTree:
    kind: type[Message] = symbol_database.Default().GetSymbol(type_url.rpartition("/")[2])
    shown: JsonTree = json_format.MessageToDict(kind.FromString(body), preserving_proto_field_name=True)
    return shown


def _differences(path: str, before: JsonTree, after: JsonTree) -> Iterator[FieldChange]:
    if before == after:
        return
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in (*after, *(each for each in before if each not in after)):
            inner = f"{path}.{name}" if path else name
            yield from _one(inner, before, after, name)
    elif isinstance(before, list) and isinstance(after, list):
        yield from _of_lists(path, before, after)
    else:
        yield FieldChange(path, _shown(before), _shown(after))


def _one(
    path: str, before: Mapping[str, JsonTree], after: Mapping[str, JsonTree], name: str
) -> Iterator[FieldChange]:
    if name not in before:
        yield FieldChange(path, None, _shown(after[name]))
    elif name not in after:
        yield FieldChange(path, _shown(before[name]), None)
    else:
        yield from _differences(path, before[name], after[name])


def _of_lists(path: str, before: Sequence[JsonTree], after: Sequence[JsonTree]) -> Iterator[FieldChange]:
    was, now = _by_name(before), _by_name(after)
    if was is not None and now is not None:
        for name in (*now, *(each for each in was if each not in now)):
            yield from _one(f"{path}[{name}]", was, now, name)
        common = [name for name in was if name in now]
        if common != [name for name in now if name in was]:
            yield FieldChange(f"{path} (order)", _shown(list(was)), _shown(list(now)))
        return
    texts = tuple([_canonical(each) for each in values] for values in (before, after))
    matcher = difflib.SequenceMatcher(None, texts[0], texts[1], autojunk=False)
    for change, start, end, other_start, other_end in matcher.get_opcodes():
        if change == "equal":
            continue
        paired = min(end - start, other_end - other_start)
        for place in range(paired):
            yield from _differences(
                f"{path}[{other_start + place}]", before[start + place], after[other_start + place]
            )
        for place in range(start + paired, end):
            yield FieldChange(f"{path}[{place}]", _shown(before[place]), None)
        for place in range(other_start + paired, other_end):
            yield FieldChange(f"{path}[{place}]", None, _shown(after[place]))


def _by_name(values: Iterable[JsonTree]) -> dict[str, JsonTree] | None:
    """None where some have no name, or two the same."""
    found: dict[str, JsonTree] = {}
    for each in values:
        name = each.get("name") if isinstance(each, Mapping) else None
        if not isinstance(name, str) or name in found:
            return None
        found[name] = each
    return found


def _canonical(value: JsonTree) -> str:
    return json.dumps(value, sort_keys=True)


def _shown(value: JsonTree) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} … ({len(text):,} characters)"
