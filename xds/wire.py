"""Joining responses from bytes that are encoded already (https://protobuf.dev/programming-guides/encoding).

The fields of a message may stand in any order, so a response is its parts one after another: nothing is parsed
or encoded again. Field numbers are those of envoy/service/discovery/v3/discovery.proto.
"""

from __future__ import annotations

from functools import lru_cache

_LENGTH_DELIMITED = 2
LENGTH_BITS = 32
"""Of the length of a field: no message is longer."""


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


Mark = tuple[int, int]
"""Of some bytes: how many, and a hash of them."""


def mark(content: bytes) -> Mark:
    return len(content), hash(content)


def without_names(request: bytes, type_url: str, names: Mark) -> bytes | None:
    """A DiscoveryRequest for `type_url` without its `resource_names`, if those are just the bytes that `names` marks; else None.

    They are looked for where everybody writes them: in the order of field numbers, which nobody has to keep.
    """
    length, content = names
    try:
        at = _after(request, _after(request, 0, b"\x0a"), b"\x12")  # its version, and its node
    except IndexError:
        return None
    end = at + length
    if not request.startswith(_text(4, type_url), end) or hash(request[at:end]) != content:
        return None
    return request[:at] + request[end:]


def _after(message: bytes, at: int, tag: bytes) -> int:
    """Where the field of `tag` that begins at `at` ends; `at` if there is none. IndexError if the message ends before."""
    if not message.startswith(tag, at):
        return at
    at, length, shift = at + 1, 0, 0
    while message[at] & 0x80:
        length |= (message[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if shift > LENGTH_BITS:
            raise IndexError(at)
    return at + 1 + (length | message[at] << shift)
