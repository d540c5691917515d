"""Envoy's own proto constraints, checked before a message is sent.

Envoy's messages carry their constraints as protoc-gen-validate rules, and Envoy refuses a whole response for one
resource that breaks one. The rules are in the descriptors, so one generic check knows them all. It covers every kind of
rule that Envoy's v3 messages use; meaning beyond the rules (unknown clusters, duplicate domains …) is not its business, nor
is anything inside an `Any` of an unknown type.
https://github.com/bufbuild/protoc-gen-validate#constraint-rules
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf import any_pb2, duration_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from envoy.check_scalars import Fault, Test, at, enum_test, scalar_tests
from envoy.errors import ConstraintViolation
from pb.validate import validate_pb2

ANY = any_pb2.Any.DESCRIPTOR.full_name
DURATION = duration_pb2.Duration.DESCRIPTOR.full_name


def check(message: Message) -> None:
    """ConstraintViolation, naming the field, if Envoy would refuse `message` for its constraints."""
    fault = _fault(message)
    if fault is not None:
        raise ConstraintViolation(message.DESCRIPTOR.name, *fault)


@dataclass(frozen=True, slots=True)
class _Rules:
    """The compiled rules of a message type. What is not set costs nothing: most fields of most messages are not.

    `tests`: by field number, the field's name and the tests of its value where it is set. `needed`: by field number, what is
    wrong where it is not set. `one_of`: names of oneofs of which one member must be.
    """

    tests: Mapping[int, tuple[str, tuple[Test, ...]]]
    needed: Mapping[int, Fault]
    one_of: tuple[str, ...]

    def fault(self, message: Message) -> Fault | None:
        fields = message.ListFields()
        for descriptor, value in fields:
            found = self.tests.get(descriptor.number)
            if found is not None:
                fault = first(found[1], value, found[0])
                if fault is not None:
                    return fault
        if self.needed:
            missing = self.needed.keys() - {descriptor.number for descriptor, _ in fields}
            if missing:
                return self.needed[min(missing)]
        for name in self.one_of:
            if message.WhichOneof(name) is None:
                return name, "one of its fields must be set"
        return None


def _fault(message: Message) -> Fault | None:
    return _rules(message.DESCRIPTOR).fault(message)


@functools.cache
def _rules(descriptor: Descriptor) -> _Rules:
    """The rules of a message type, compiled once: a pure memo of what never changes."""
    options = descriptor.GetOptions()
    if options.Extensions[validate_pb2.disabled] or options.Extensions[validate_pb2.ignored]:
        return _Rules({}, {}, ())
    tests: dict[int, tuple[str, tuple[Test, ...]]] = {}
    needed: dict[int, Fault] = {}
    for each in descriptor.fields:
        of_field = _field_tests(each)
        if of_field:
            tests[each.number] = each.name, of_field
        missing = _missing(each, of_field)
        if missing is not None:
            needed[each.number] = missing
    one_of = tuple(
        each.name for each in descriptor.oneofs if each.GetOptions().Extensions[validate_pb2.required]
    )
    return _Rules(tests, needed, one_of)


def _field_tests(each: FieldDescriptor) -> tuple[Test, ...]:
    rules = each.GetOptions().Extensions[validate_pb2.rules]
    if _is_map(each):
        return _map_tests(each, rules.map)
    if each.is_repeated:
        return _repeated_tests(each, rules.repeated)
    return _value_tests(each, rules)


def _is_map(each: FieldDescriptor) -> bool:
    return each.message_type is not None and each.message_type.GetOptions().map_entry


def _missing(each: FieldDescriptor, tests: tuple[Test, ...]) -> Fault | None:
    """What is wrong where this field is not set."""
    if each.is_repeated:
        return first(tests, {} if _is_map(each) else (), each.name)
    if not each.has_presence:
        # Zero is a value as any other, as in protoc-gen-validate.
        return first(tests, each.default_value, each.name)
    rules = each.GetOptions().Extensions[validate_pb2.rules]
    required = (
        rules.message.required or rules.any.required or rules.duration.required or rules.timestamp.required
    )
    # A member of a `oneof` is only required where it is the one chosen, and then it is set.
    return (each.name, "it must be set") if required and each.containing_oneof is None else None


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
    if name == ANY:
        return (_any_test(rules.any), _inside_any) if kind == "any" else (_inside_any,)
    if scalars:  # a wrapper, as UInt32Value: the rules are those of what it wraps
        return tuple(_unwrapped(test) for test in scalars)
    return () if name.startswith("google.protobuf.") else (_fault,)


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


def _inside_any(holder: Any) -> Fault | None:
    return _inside(holder.type_url, holder.value)


@functools.lru_cache(maxsize=1024)
def _inside(type_url: str, value: bytes) -> Fault | None:
    """A pure memo: most resources hold the same few filters."""
    try:
        descriptor = message_type(type_url)
    except KeyError:
        return None
    inner = GetMessageClass(descriptor)()
    try:
        inner.ParseFromString(value)
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
