"""Envoy's own proto constraints, checked before a message is sent.

Envoy's messages carry their constraints as protoc-gen-validate rules, and Envoy refuses a whole response for one
resource that breaks one. The rules are in the descriptors, so one generic check knows them all. It covers every kind of
rule that Envoy's v3 messages use; meaning beyond the rules (unknown clusters, duplicate domains …) is not its business, nor
is anything inside an `Any` of an unknown type.
https://github.com/bufbuild/protoc-gen-validate#constraint-rules
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from google.protobuf import any_pb2, duration_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from envoy.check_scalars import Fault, Test, at, enum_test, scalar_tests
from envoy.errors import ConstraintViolation
from pb.validate import validate_pb2

FieldTest: TypeAlias = Callable[[Message], Fault | None]
ANY = any_pb2.Any.DESCRIPTOR.full_name
DURATION = duration_pb2.Duration.DESCRIPTOR.full_name


def check(message: Message) -> None:
    """ConstraintViolation, naming the field, if Envoy would refuse `message` for its constraints."""
    fault = _fault(message)
    if fault is not None:
        raise ConstraintViolation(message.DESCRIPTOR.name, *fault)


def _fault(message: Message) -> Fault | None:
    for test in _tests(message.DESCRIPTOR):
        fault = test(message)
        if fault is not None:
            return fault
    return None


@functools.cache
def _tests(descriptor: Descriptor) -> tuple[FieldTest, ...]:
    """The tests of a message type, compiled once: a pure memo of what never changes."""
    options = descriptor.GetOptions()
    if options.Extensions[validate_pb2.disabled] or options.Extensions[validate_pb2.ignored]:
        return ()
    if descriptor.full_name == ANY:
        return (_inside_any,)
    if descriptor.full_name.startswith("google.protobuf."):
        return ()
    tests = [test for each in descriptor.fields for test in _field_tests(each)]
    tests.extend(
        _one_of(each.name)
        for each in descriptor.oneofs
        if each.GetOptions().Extensions[validate_pb2.required]
    )
    return tuple(tests)


def _one_of(name: str) -> FieldTest:
    def test(message: Message) -> Fault | None:
        return None if message.WhichOneof(name) else (name, "one of its fields must be set")

    return test


def _field_tests(each: FieldDescriptor) -> Iterable[FieldTest]:
    rules = each.GetOptions().Extensions[validate_pb2.rules]
    if each.message_type is not None and each.message_type.GetOptions().map_entry:
        tests = _map_tests(each, rules.map)
    elif each.is_repeated:
        tests = _repeated_tests(each, rules.repeated)
    else:
        tests = _value_tests(each, rules)
        # A member of a `oneof` is only required where it is the one chosen, and then it is set.
        if each.containing_oneof is None and _required(rules):
            yield _set(each.name)
    if tests:
        yield _field_test(each, tests)


def _required(rules: validate_pb2.FieldRules) -> bool:
    return rules.message.required or rules.any.required or rules.duration.required or rules.timestamp.required


def _set(name: str) -> FieldTest:
    def test(message: Message) -> Fault | None:
        return None if message.HasField(name) else (name, "it must be set")

    return test


def _field_test(each: FieldDescriptor, tests: tuple[Test, ...]) -> FieldTest:
    name = each.name
    # A field without presence is checked as it is, zero or not, as protoc-gen-validate does.
    optional = each.has_presence and not each.is_repeated

    def test(message: Message) -> Fault | None:
        if optional and not message.HasField(name):
            return None
        return first(tests, getattr(message, name), name)

    return test


def first(tests: Iterable[Test], value: Any, path: str) -> Fault | None:
    for test in tests:
        fault = test(value)
        if fault is not None:
            return at(path, fault)
    return None


def _value_tests(each: FieldDescriptor, rules: validate_pb2.FieldRules) -> tuple[Test, ...]:
    """The tests of one value: of a field that is not repeated, an item, a key or a value of a map."""
    kind = rules.WhichOneof("type")
    if each.enum_type is not None:
        return (enum_test(each.enum_type, rules.enum),) if kind == "enum" else ()
    scalars = scalar_tests(kind, getattr(rules, kind)) if kind else ()
    if each.message_type is None:
        return scalars
    if rules.message.skip:
        return ()
    name = each.message_type.full_name
    if name == DURATION:
        return _duration_tests(rules.duration) if kind == "duration" else ()
    if kind == "any":
        return (_any_test(rules.any), _fault)
    if scalars:  # a wrapper, as UInt32Value: the rules are those of what it wraps
        return tuple(_unwrapped(test) for test in scalars)
    return (_fault,)


def _unwrapped(test: Test) -> Test:
    return lambda wrapper: test(wrapper.value)


def _repeated_tests(each: FieldDescriptor, rules: validate_pb2.RepeatedRules) -> tuple[Test, ...]:
    tests: list[Test] = []
    if not rules.ignore_empty and rules.min_items:
        tests.append(_at_least(rules.min_items, "items"))
    if rules.max_items:
        tests.append(_at_most(rules.max_items, "items"))
    if rules.unique:
        tests.append(_unique)
    inner = _value_tests(each, rules.items)
    if inner:
        tests.append(_each_of(inner))
    return tuple(tests)


def _map_tests(each: FieldDescriptor, rules: validate_pb2.MapRules) -> tuple[Test, ...]:
    if each.message_type is None:  # it is a message: the caller has looked
        return ()
    entry = each.message_type.fields_by_name
    tests: list[Test] = []
    if not rules.ignore_empty and rules.min_pairs:
        tests.append(_at_least(rules.min_pairs, "pairs"))
    if rules.max_pairs:
        tests.append(_at_most(rules.max_pairs, "pairs"))
    keys, values = _value_tests(entry["key"], rules.keys), _value_tests(entry["value"], rules.values)
    if keys or values:
        tests.append(_each_pair(keys, values))
    return tuple(tests)


def _at_least(count: int, of: str) -> Test:
    return lambda value: None if len(value) >= count else ("", f"it needs at least {count} {of}")


def _at_most(count: int, of: str) -> Test:
    return lambda value: None if len(value) <= count else ("", f"it takes at most {count} {of}")


def _unique(values: Any) -> Fault | None:
    seen: list[Any] = []
    for place, value in enumerate(values):
        if value in seen:
            return f"[{place}]", "it is there twice"
        seen.append(value)
    return None


def _each_of(tests: tuple[Test, ...]) -> Test:
    def test(values: Any) -> Fault | None:
        for place, value in enumerate(values):
            fault = first(tests, value, f"[{place}]")
            if fault is not None:
                return fault
        return None

    return test


def _each_pair(keys: tuple[Test, ...], values: tuple[Test, ...]) -> Test:
    def test(pairs: Any) -> Fault | None:
        for key, value in pairs.items():
            fault = first(keys, key, f"[{key!r}]") or first(values, value, f"[{key!r}]")
            if fault is not None:
                return fault
        return None

    return test


def _any_test(rules: validate_pb2.AnyRules) -> Test:
    allowed, refused = frozenset(getattr(rules, "in")), frozenset(rules.not_in)

    def test(value: Any) -> Fault | None:
        if (allowed and value.type_url not in allowed) or value.type_url in refused:
            return "", f"it may not hold {value.type_url}"
        return None

    return test


def _inside_any(message: Any) -> Fault | None:
    try:
        descriptor = message_type(message.type_url)
    except KeyError:
        return None
    inner = GetMessageClass(descriptor)()
    try:
        inner.ParseFromString(message.value)
    except DecodeError:
        return "value", f"it is no {descriptor.full_name}"
    return _fault(inner)


def message_type(type_url: str) -> Descriptor:
    """KeyError for a type that nothing has imported."""
    return Default().FindMessageTypeByName(type_url.rpartition("/")[2])


def _duration_tests(rules: validate_pb2.DurationRules) -> tuple[Test, ...]:
    bounds = {
        name: _nanoseconds(getattr(rules, name))
        for name in ("const", "lt", "lte", "gt", "gte")
        if rules.HasField(name)
    }
    allowed = [_nanoseconds(each) for each in getattr(rules, "in")]
    holds: dict[str, Callable[[int, int], bool]] = {
        "const": lambda value, bound: value == bound,
        "lt": lambda value, bound: value < bound,
        "lte": lambda value, bound: value <= bound,
        "gt": lambda value, bound: value > bound,
        "gte": lambda value, bound: value >= bound,
    }

    def test(value: Any) -> Fault | None:
        length = _nanoseconds(value)
        for name, bound in bounds.items():
            if not holds[name](length, bound):
                return "", f"{length / 1e9:g} s is not {name} {bound / 1e9:g} s"
        if allowed and length not in allowed:
            return "", f"{length / 1e9:g} s is not among what is allowed"
        return None

    return (test,)


def _nanoseconds(value: duration_pb2.Duration) -> int:
    return value.seconds * 1_000_000_000 + value.nanos
