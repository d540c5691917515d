"""Does a second, independent decoder (envoy-data-plane, pure Python) read the same from the bytes that we serve?

What both classes and their build have wrong, an own decoder would hide. Compared field by field, into every `Any`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from envoy.check import message_type
from envoy.render import Rendered

SECOND = "envoy_data_plane"


def differences(resource: Rendered) -> list[str]:
    """Paths at which the two decoders disagree, with both values."""
    ours = GetMessageClass(message_type(resource.type_url)).FromString(resource.body)
    return list(_messages(resource.name, ours, _second(resource.type_url, resource.body)))


def _second(type_url: str, body: bytes) -> Any:
    package, _, name = type_url.rpartition("/")[2].rpartition(".")
    module = importlib.import_module(f"{SECOND}.{package}")
    # HTTPFault is HttpFault there.
    (own,) = (each for each in dir(module) if each.lower() == name.lower())
    return getattr(module, own).parse(body)


def _messages(path: str, ours: Message, theirs: Any) -> Iterator[str]:
    if isinstance(ours, AnyMessage):
        if (ours.type_url, ours.value) != (theirs.type_url, theirs.value):
            yield f"{path}: {ours.type_url} is not {theirs.type_url}"
            return
        inner = GetMessageClass(message_type(ours.type_url)).FromString(ours.value)
        yield from _messages(f"{path}<{inner.DESCRIPTOR.name}>", inner, _second(ours.type_url, ours.value))
        return
    if getattr(theirs, "_unknown_fields", b""):
        yield f"{path}: unknown fields in the second decoder"
    for field in ours.DESCRIPTOR.fields:
        if not (hasattr(theirs, field.name) or hasattr(theirs, f"{field.name}_")):
            # OpenTelemetry's messages are older there. What it does not know must not be used.
            if field.name in {each.name for each, _ in ours.ListFields()}:
                yield f"{path}.{field.name}: unknown to the second decoder"
            continue
        yield from _field(f"{path}.{field.name}", field, ours, theirs)


def _field(path: str, field: Any, ours: Message, theirs: Any) -> Iterator[str]:
    mine = getattr(ours, field.name)
    # A name that Python reserves has an underscore behind it.
    other = getattr(theirs, field.name if hasattr(theirs, field.name) else f"{field.name}_")
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        if set(mine) != set(other):
            yield f"{path}: keys {sorted(mine)} are not {sorted(other)}"
            return
        for key in mine:
            yield from _values(f"{path}[{key!r}]", mine[key], other[key])
    elif field.is_repeated:
        if len(mine) != len(other):
            yield f"{path}: {len(mine)} items, not {len(other)}"
            return
        for place, (left, right) in enumerate(zip(mine, other, strict=True)):
            yield from _values(f"{path}[{place}]", left, right)
    elif field.has_presence and not ours.HasField(field.name):
        if other is not None:
            yield f"{path}: unset, not {other!r}"
    elif field.has_presence and other is None:
        yield f"{path}: {mine!r} is unset in the second decoder"
    else:
        yield from _values(path, mine, other)


def _values(path: str, mine: Any, other: Any) -> Iterator[str]:
    if isinstance(mine, Duration) and isinstance(other, timedelta):
        mine = mine.ToTimedelta()
    elif isinstance(mine, Message) and not hasattr(other, "parse"):
        mine = mine.value  # type: ignore[attr-defined] # a wrapper: the second decoder has what it wraps
    if isinstance(mine, Message):
        yield from _messages(path, mine, other)
    elif mine != other:
        yield f"{path}: {mine!r} is not {other!r}"
