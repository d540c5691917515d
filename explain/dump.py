"""A proxy's own word on what it has: Envoy's `/config_dump`, or what `meshwright config-dump` prints.

https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/admin/v3/config_dump.proto
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from google.protobuf import json_format
from google.protobuf.message import Message

from explain.question import Unaskable
from explain.resources import KINDS, Table

SHORT: Mapping[str, type[Message]] = {each.DESCRIPTOR.name: each for each in KINDS.values()}
FULL: Mapping[str, type[Message]] = {each.DESCRIPTOR.full_name: each for each in KINDS.values()}
WARMING = ("warming_state", "draining_state", "error_state", "dynamic_warming_clusters")
"""What Envoy has and does not use."""


def table(dump: object) -> Table:
    """The resources of a dump: JSON values, as they were read. Unaskable if there are none in it."""
    made, found = Table(), 0
    for message, origin in _messages(dump):
        made.add(message, origin)
        found += 1
    if not found:
        raise Unaskable(
            "the dump has no listeners, routes or clusters: give the JSON of Envoy's /config_dump?include_eds, or of `meshwright config-dump`"
        )
    return made


def _messages(value: object) -> Iterator[tuple[Message, tuple[str, ...]]]:
    if isinstance(value, list):
        for each in value:
            yield from _messages(each)
    elif isinstance(value, dict):
        kind = FULL.get(str(value.get("@type", "")).rpartition("/")[2])
        if kind is not None:
            yield _parsed({name: each for name, each in value.items() if name != "@type"}, kind), ()
        elif isinstance(value.get("resource"), dict) and value.get("type") in SHORT:
            origin = value.get("origin")
            documents = tuple(str(each) for each in origin) if isinstance(origin, list) else ()
            yield _parsed(value["resource"], SHORT[str(value["type"])]), documents
        else:
            for name, each in value.items():
                if name not in WARMING:
                    yield from _messages(each)


def _parsed(value: Mapping[str, object], kind: type[Message]) -> Message:
    made = kind()
    try:
        # A newer Envoy may have fields that our messages lack: they are left out, as Envoy itself does.
        json_format.ParseDict(dict(value), made, ignore_unknown_fields=True)
    except (json_format.ParseError, TypeError, ValueError, OverflowError) as error:
        raise Unaskable(f"the dump cannot be read: a {kind.DESCRIPTOR.name}: {str(error)[:300]}") from error
    return made
