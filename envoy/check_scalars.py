"""The protoc-gen-validate rules of numbers, strings, bytes, booleans and enums."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Any, TypeAlias

from google.protobuf.descriptor import EnumDescriptor

from pb.validate import validate_pb2

Fault: TypeAlias = tuple[str, str]
"""The path of a field, from where the test stands, and what is wrong with it."""

Test: TypeAlias = Callable[[Any], Fault | None]

NUMBERS = frozenset(
    [
        "float",
        "double",
        "int32",
        "int64",
        "uint32",
        "uint64",
        "sint32",
        "sint64",
        "fixed32",
        "fixed64",
        "sfixed32",
        "sfixed64",
    ]
)
HEADER_NAME = re.compile(r":?[0-9a-zA-Z!#$%&'*+\-.^_|~`]+")
HEADER_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
LOOSE_NAME = re.compile(r"[^\x00\x0a\x0d]*")  # also none at all: `cluster_header` of each weighted cluster
LOOSE_VALUE = re.compile(r"[^\x00\x0a\x0d]*")
HOST_LABEL = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?")


def at(path: str, fault: Fault) -> Fault:
    """`fault` seen from one level further out."""
    inner, rule = fault
    if not inner:
        return path, rule
    return (f"{path}{inner}" if inner.startswith("[") else f"{path}.{inner}"), rule


def scalar_tests(kind: str, rules: Any) -> tuple[Test, ...]:
    """The tests that `rules` (of `kind`, the name in FieldRules' oneof) mean; none for rules that are no scalar's."""
    if kind in NUMBERS:
        test = _number_test(rules)
    elif kind == "string":
        test = _string_test(rules)
    elif kind == "bytes":
        test = _bytes_test(rules)
    elif kind == "bool" and rules.HasField("const"):
        test = _holds(f"it must be {rules.const}", lambda value: bool(value == rules.const))
    else:
        return ()
    if kind != "bool" and rules.ignore_empty:
        return (lambda value: test(value) if value else None,)
    return (test,)


def enum_test(enum: EnumDescriptor, rules: validate_pb2.EnumRules) -> Test:
    known = frozenset(enum.values_by_number) if rules.defined_only else None
    allowed, refused = frozenset(getattr(rules, "in")), frozenset(rules.not_in)
    const = rules.const if rules.HasField("const") else None

    def test(value: int) -> Fault | None:
        if known is not None and value not in known:
            return "", f"{value} is no value of {enum.name}"
        if (allowed and value not in allowed) or value in refused or (const is not None and value != const):
            return "", f"{value} of {enum.name} is not allowed here"
        return None

    return test


def _all(tests: list[Test]) -> Test:
    if len(tests) == 1:
        return tests[0]

    def test(value: Any) -> Fault | None:
        return next((fault for each in tests if (fault := each(value)) is not None), None)

    return test


def _holds(rule: str, predicate: Callable[[Any], bool]) -> Test:
    return lambda value: None if predicate(value) else ("", rule)


def _number_test(rules: Any) -> Test:
    low = _bound(rules, "gt", "gte")
    high = _bound(rules, "lt", "lte")
    tests: list[Test] = []
    if low and high and low[0] > high[0]:
        # The bounds are the wrong way round, which in protoc-gen-validate means: outside of them.
        tests.append(
            _holds("it lies in the excluded range", lambda value: _above(value, low) or _below(value, high))
        )
    else:
        if low:
            tests.append(
                _holds(f"it must be {'>' if low[1] else '>='} {low[0]}", lambda value: _above(value, low))
            )
        if high:
            tests.append(
                _holds(f"it must be {'<' if high[1] else '<='} {high[0]}", lambda value: _below(value, high))
            )
    tests.extend(_membership(rules))
    return _all(tests)


def _bound(rules: Any, strict: str, loose: str) -> tuple[float, bool] | None:
    if rules.HasField(strict):
        return getattr(rules, strict), True
    return (getattr(rules, loose), False) if rules.HasField(loose) else None


def _above(value: float, low: tuple[float, bool]) -> bool:
    return value > low[0] if low[1] else value >= low[0]


def _below(value: float, high: tuple[float, bool]) -> bool:
    return value < high[0] if high[1] else value <= high[0]


def _membership(rules: Any) -> list[Test]:
    tests: list[Test] = []
    allowed, refused = frozenset(getattr(rules, "in")), frozenset(rules.not_in)
    if rules.HasField("const"):
        tests.append(_holds(f"it must be {rules.const!r}", lambda value: bool(value == rules.const)))
    if allowed:
        tests.append(_holds(f"it must be one of {sorted(allowed)}", lambda value: value in allowed))
    if refused:
        tests.append(_holds(f"it must be none of {sorted(refused)}", lambda value: value not in refused))
    return tests


def _string_test(rules: validate_pb2.StringRules) -> Test:
    tests = _membership(rules)
    sizes: tuple[tuple[str, str, Callable[[str], int]], ...] = (
        ("len", "characters", len),
        ("len_bytes", "bytes", lambda text: len(text.encode())),
    )
    for field, unit, size in sizes:
        if rules.HasField(field):  # type: ignore[arg-type]
            tests.append(_exactly(getattr(rules, field), unit, size))
    for least, most, unit, size in (
        ("min_len", "max_len", "characters", sizes[0][2]),
        ("min_bytes", "max_bytes", "bytes", sizes[1][2]),
    ):
        tests.extend(_sized(rules, least, most, unit, size))
    tests.extend(_affixes(rules))
    if rules.HasField("pattern"):
        pattern = re.compile(rules.pattern)
        tests.append(_holds(f"it must match {rules.pattern}", lambda text: bool(pattern.fullmatch(text))))
    known = rules.WhichOneof("well_known")
    if known == "well_known_regex":
        tests.append(_header_test(rules))
    elif known is not None and getattr(rules, known) and known in WELL_KNOWN:
        tests.append(_holds(f"it must be of the form {known}", WELL_KNOWN[known]))
    return _all(tests)


def _bytes_test(rules: validate_pb2.BytesRules) -> Test:
    tests = _membership(rules)
    if rules.HasField("len"):
        tests.append(_exactly(rules.len, "bytes", len))
    tests.extend(_sized(rules, "min_len", "max_len", "bytes", len))
    tests.extend(_affixes(rules))
    return _all(tests)


def _exactly(count: int, unit: str, size: Callable[[Any], int]) -> Test:
    return _holds(f"it must have {count} {unit}", lambda value: size(value) == count)


def _sized(rules: Any, least: str, most: str, unit: str, size: Callable[[Any], int]) -> list[Test]:
    tests: list[Test] = []
    if rules.HasField(least):
        low = getattr(rules, least)
        tests.append(_holds(f"it needs at least {low} {unit}", lambda value: size(value) >= low))
    if rules.HasField(most):
        high = getattr(rules, most)
        tests.append(_holds(f"it takes at most {high} {unit}", lambda value: size(value) <= high))
    return tests


def _affixes(rules: Any) -> list[Test]:
    tests: list[Test] = []
    if rules.HasField("prefix"):
        tests.append(
            _holds(f"it must begin with {rules.prefix!r}", lambda value: value.startswith(rules.prefix))
        )
    if rules.HasField("suffix"):
        tests.append(_holds(f"it must end in {rules.suffix!r}", lambda value: value.endswith(rules.suffix)))
    if rules.HasField("contains"):
        tests.append(_holds(f"it must contain {rules.contains!r}", lambda value: rules.contains in value))
    return tests


def _header_test(rules: validate_pb2.StringRules) -> Test:
    strict = not rules.HasField("strict") or rules.strict
    if rules.well_known_regex == validate_pb2.HTTP_HEADER_NAME:
        pattern, what = (HEADER_NAME if strict else LOOSE_NAME), "name"
    else:
        pattern, what = (HEADER_VALUE if strict else LOOSE_VALUE), "value"
    return _holds(f"it must be a header's {what}", lambda text: bool(pattern.fullmatch(text)))


def _is_ip(text: str, version: int | None = None) -> bool:
    try:
        return version in {None, ipaddress.ip_address(text).version}
    except ValueError:
        return False


def _is_hostname(text: str) -> bool:
    text = text.removesuffix(".")
    return 0 < len(text) <= 253 and all(HOST_LABEL.fullmatch(label) for label in text.split("."))


WELL_KNOWN: dict[str, Callable[[str], bool]] = {
    "ip": _is_ip,
    "ipv4": lambda text: _is_ip(text, 4),
    "ipv6": lambda text: _is_ip(text, 6),
    "hostname": _is_hostname,
    "address": lambda text: _is_ip(text) or _is_hostname(text),
}
