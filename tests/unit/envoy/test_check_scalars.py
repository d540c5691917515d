"""The rules one by one, as protoc-gen-validate defines them."""

from __future__ import annotations

from typing import Any

import pytest

from envoy.check_scalars import scalar_tests
from pb.validate.validate_pb2 import (
    HTTP_HEADER_NAME,
    HTTP_HEADER_VALUE,
    BytesRules,
    DoubleRules,
    StringRules,
    UInt32Rules,
)


def holds(kind: str, rules: Any, value: Any) -> bool:
    return all(test(value) is None for test in scalar_tests(kind, rules))


def in_rules(rules: Any, *values: Any) -> Any:
    getattr(rules, "in").extend(values)
    return rules


@pytest.mark.parametrize(
    ("rules", "good", "bad"),
    [
        (UInt32Rules(gt=1, lte=3), 3, 4),
        (UInt32Rules(gte=1, lt=3), 1, 3),
        (UInt32Rules(gt=5, lt=2), 6, 3),  # the wrong way round: outside of the range
        (UInt32Rules(const=7), 7, 8),
        (UInt32Rules(not_in=[1]), 2, 1),
        (in_rules(UInt32Rules(), 1, 2), 2, 3),
        (UInt32Rules(gte=5, ignore_empty=True), 0, 4),
    ],
)
def test_numbers(rules: UInt32Rules, good: int, bad: int) -> None:
    assert holds("uint32", rules, good)
    assert not holds("uint32", rules, bad)


@pytest.mark.parametrize(
    ("rules", "good", "bad"),
    [
        (StringRules(min_len=1), "a", ""),
        (StringRules(max_len=2), "ää", "äää"),
        (StringRules(max_bytes=2), "ä", "ää"),
        (StringRules(min_bytes=3), "ää", "ä"),
        (StringRules(len=2), "ab", "abc"),
        (StringRules(prefix="/"), "/a", "a"),
        (StringRules(suffix="/"), "a/", "a"),
        (StringRules(contains="x"), "axb", "ab"),
        (StringRules(pattern="^[a-z]*$"), "abc", "a1"),
        (StringRules(const="a"), "a", "b"),
        (in_rules(StringRules(), "a"), "a", "b"),
        (StringRules(not_in=["a"]), "b", "a"),
        (StringRules(min_len=3, ignore_empty=True), "", "ab"),
        (StringRules(well_known_regex=HTTP_HEADER_NAME), ":authority", "a b"),
        (StringRules(well_known_regex=HTTP_HEADER_VALUE), "a\tb", "a\x00b"),
        (StringRules(well_known_regex=HTTP_HEADER_NAME, strict=False), "a b", "a\nb"),
        (StringRules(well_known_regex=HTTP_HEADER_NAME, strict=False), "", "a\rb"),
        (StringRules(well_known_regex=HTTP_HEADER_VALUE, strict=False), "", "\r"),
        (StringRules(ip=True), "::1", "host"),
        (StringRules(ipv4=True), "127.0.0.1", "::1"),
        (StringRules(ipv6=True), "::1", "127.0.0.1"),
        (StringRules(hostname=True), "a.example", "a_b"),
        (StringRules(address=True), "a.example", "a b"),
    ],
)
def test_strings(rules: StringRules, good: str, bad: str) -> None:
    assert holds("string", rules, good)
    assert not holds("string", rules, bad)


@pytest.mark.parametrize(
    ("rules", "good", "bad"),
    [
        (BytesRules(min_len=1), b"a", b""),
        (BytesRules(max_len=1), b"a", b"ab"),
        (BytesRules(len=2), b"ab", b"a"),
        (BytesRules(prefix=b"a"), b"ab", b"b"),
    ],
)
def test_bytes(rules: BytesRules, good: bytes, bad: bytes) -> None:
    assert holds("bytes", rules, good)
    assert not holds("bytes", rules, bad)


def test_a_bound_of_zero_is_a_bound() -> None:
    assert not holds("double", DoubleRules(gte=0), -0.1)
    assert holds("double", DoubleRules(gte=0), 0)
