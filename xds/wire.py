"""Joining responses from bytes that are encoded already (https://protobuf.dev/programming-guides/encoding).

The fields of a message may stand in any order, so a response is its parts one after another: nothing is parsed
or encoded again. Field numbers are those of envoy/service/discovery/v3/discovery.proto.
"""

from __future__ import annotations

from functools import lru_cache

_LENGTH_DELIMITED = 2


def varint(number: int) -> bytes:
    """`number`, 0 or more, in base 128."""
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def field(number: int, content: bytes) -> bytes:
    """A field of bytes, a string or a message."""
    return varint(number << 3 | _LENGTH_DELIMITED) + varint(len(content)) + content


def text(number: int, content: str) -> bytes:
    """A string field; nothing for the empty string, which is the default."""
    return field(number, content.encode()) if content else b""


_text = lru_cache(maxsize=4096)(text)
"""What the same response to many clients has again and again."""


def any_message(type_url: str, body: bytes) -> bytes:
    """The content of a google.protobuf.Any."""
    return text(1, type_url) + field(2, body)


def sotw_entry(type_url: str, body: bytes) -> bytes:
    """One of `DiscoveryResponse.resources`."""
    return field(2, any_message(type_url, body))


def delta_entry(type_url: str, name: str, version: str, body: bytes) -> bytes:
    """One of `DeltaDiscoveryResponse.resources`."""
    return field(2, text(3, name) + text(1, version) + field(2, any_message(type_url, body)))


def sotw_response(type_url: str, version: str, resources: bytes, nonce: str) -> bytes:
    """A DiscoveryResponse; `resources` is joined `sotw_entry`s."""
    return b"".join((_text(1, version), resources, _text(4, type_url), _text(5, nonce)))


def delta_response(type_url: str, version: str, resources: bytes, removed: bytes, nonce: str) -> bytes:
    """A DeltaDiscoveryResponse; `resources` is joined `delta_entry`s, `removed` joined `removed_entry`s."""
    return b"".join((_text(1, version), resources, _text(4, type_url), removed, _text(5, nonce)))


def removed_entry(name: str) -> bytes:
    """One of `DeltaDiscoveryResponse.removed_resources`."""
    return field(6, name.encode())
