"""What a user says of a resource in Envoy's own words, laid over the finished message: the last resort.

https://protobuf.dev/programming-guides/json/
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf import any_pb2, json_format, struct_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from envoy.check import check, message_type
from envoy.errors import EnvoyError
from envoy.packing import PREFIX, pack, type_url

STRUCT = struct_pb2.Struct.DESCRIPTOR.full_name
TYPE = re.compile(r"[A-Za-z0-9_.]*/((?:envoy|xds|udpa|google)(?:\.[A-Za-z0-9_]+)+)\.[A-Za-z0-9_]+")


@dataclass(frozen=True, slots=True)
class Patch:
    """`body`: the serialised message of type `type_url` that is laid over the resource of that type and `name`. `by`: whose it is."""

    type_url: str
    name: str
    body: bytes
    by: str


class Unfit(ValueError):
    """A patch that is no message of its type. `path`: where, as in JSON."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}" if path else reason)
        self.path = path
        self.reason = reason


def parse(said: Mapping[str, object], into: type[Message]) -> Message:
    """The message that `said` is the JSON of. Raises Unfit, and nothing else."""
    for name in _types(said):
        _load(name)
    try:
        made = json_format.ParseDict(dict(said), into())
    except json_format.ParseError as error:
        raise _unfit(str(error)) from error
    except Exception as error:  # `json_format` is no match for all that users write
        raise Unfit("", f"not to be read as {into.DESCRIPTOR.full_name}: {_named(error)}") from error
    if _untyped(made):
        raise Unfit("", f"something packed has no @type, like {PREFIX}envoy.config.cluster.v3.Cluster")
    try:  # JSON may be deeper than what its bytes can be read of, by us and by Envoy
        merge(into(), into.FromString(made.SerializeToString()))
    except Exception as error:
        raise Unfit("", f"not to be laid over a {into.DESCRIPTOR.full_name}: {_named(error)}") from error
    return made


def applied(
    message: Message, name: str, patches: Iterable[Patch]
) -> tuple[Message, tuple[tuple[str, str], ...]]:
    """`message`, whose name is `name`, with those of `patches` that are for it, one over another; and, for each that is left out because
    it cannot be laid over or Envoy would refuse what comes of it, whose it is and why.
    """
    refused: list[tuple[str, str]] = []
    url = type_url(type(message))
    for patch in patches:
        if (patch.type_url, patch.name) != (url, name):
            continue
        try:
            message = _with(message, patch)
        except EnvoyError as error:
            refused.append((patch.by, str(error)))
        except Exception as error:  # noqa: BLE001 (one patch must not end all that is made beside it)
            refused.append((patch.by, f"it cannot be laid over: {_named(error)}"))
    return message, tuple(refused)


def _with(message: Message, patch: Patch) -> Message:
    """Raises EnvoyError if Envoy would refuse what comes of it, and whatever reading and merging raise."""
    made = type(message)()
    made.CopyFrom(message)
    merge(made, type(message).FromString(patch.body))
    check(made)
    type(message).FromString(made.SerializeToString())  # as Envoy will
    return made


def merge(into: Message, patch: Message) -> None:
    """Lay `patch` over `into`: values replace, messages are merged, also packed ones of one type; elements of lists are merged into those
    with the same name, and otherwise added.
    """
    for field, value in patch.ListFields():
        if field.message_type is None:
            _plain(into, field, value)
        elif field.message_type.GetOptions().map_entry:
            _map(getattr(into, field.name), value)
        elif field.is_repeated:
            _list(getattr(into, field.name), value)
        else:
            target = getattr(into, field.name)
            target.SetInParent()
            _message(target, value)


def _plain(into: Message, field: FieldDescriptor, value: object) -> None:
    if field.is_repeated:
        getattr(into, field.name).extend(value)
    else:
        setattr(into, field.name, value)


def _map(into: Any, values: Mapping[object, object]) -> None:
    for key, value in values.items():
        if isinstance(value, Message):
            _message(into[key], value)
        else:
            into[key] = value


def _list(into: Any, values: Iterable[Message]) -> None:
    for value in values:
        name = getattr(value, "name", None)
        same = [each for each in into if each.name == name] if name and isinstance(name, str) else []
        if same:
            _message(same[0], value)
        else:
            into.add().CopyFrom(value)


def _message(into: Message, patch: Message) -> None:
    kind = patch.DESCRIPTOR.full_name
    if isinstance(patch, any_pb2.Any) and isinstance(into, any_pb2.Any):
        _packed(into, patch)
    elif kind == STRUCT:
        into.MergeFrom(patch)
    elif kind.startswith("google.protobuf."):  # a duration is one value, and so is a number with presence
        into.CopyFrom(patch)
    else:
        merge(into, patch)


def _packed(into: any_pb2.Any, patch: any_pb2.Any) -> None:
    if into.type_url != patch.type_url:
        into.CopyFrom(patch)
        return
    message = GetMessageClass(message_type(into.type_url))
    inner = message.FromString(into.value)
    merge(inner, message.FromString(patch.value))
    pack(into, inner)


def _types(said: object) -> Iterator[str]:
    """The types of what is packed anywhere within. Raises Unfit."""
    if isinstance(said, Mapping):
        if "@type" in said:
            named = said["@type"]
            if not isinstance(named, str):
                raise Unfit(
                    "", f"an @type is text, like {PREFIX}envoy.config.cluster.v3.Cluster, not {named!r:.100}"
                )
            yield named
        for each in said.values():
            yield from _types(each)
    elif isinstance(said, list | tuple):
        for each in said:
            yield from _types(each)


def _untyped(message: Message) -> bool:
    """Whether anything packed within is of no type: it cannot be merged, and Envoy has no use for it."""
    if isinstance(message, any_pb2.Any):
        return not message.type_url
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        values = value if field.is_repeated else [value]
        if field.message_type.GetOptions().map_entry:
            values = value.values() if field.message_type.fields_by_name["value"].message_type else ()
        if any(_untyped(each) for each in values):
            return True
    return False


def _load(url: str) -> None:
    """Make the type known: its file is one of its package's, for which only the package is known. Raises Unfit."""
    found = TYPE.fullmatch(url)
    if found is None:
        raise Unfit("", f"{url!r} is not a type of Envoy, like {PREFIX}envoy.config.cluster.v3.Cluster")
    try:
        package = importlib.import_module(f"pb.{found[1]}")
    except ModuleNotFoundError as error:
        raise Unfit("", f"Envoy has no type {url.rpartition('/')[2]}") from error
    path = getattr(package, "__path__", None)
    if path is None:  # a generated file, which is no package of the API
        raise Unfit("", f"Envoy has no type {url.rpartition('/')[2]}")
    for each in pkgutil.iter_modules(path):
        importlib.import_module(f"{package.__name__}.{each.name}")


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _unfit(said: str) -> Unfit:
    """From what `json_format` says: the innermost reason, and the path to it."""
    reason, names = said.partition("\n")[0], []
    while (found := re.match(r"Failed to parse (\S+) field: (.*)", reason)) is not None:
        names.append(found[1])
        reason = found[2]
    reason = reason.rstrip(".").replace(" must be in [] which is ", " must be a list, not ")
    reason, _, at = reason.rpartition(" at ") if " at " in reason else (reason, "", "")
    reason = reason.rstrip(".")
    path = at.strip('"').partition(".")[2] or ".".join(names)
    unknown = re.match(r'Message type "([^"]+)" has no field named "([^"]+)"', reason)
    if unknown is not None:
        return Unfit(".".join(part for part in (path, unknown[2]) if part), f"{unknown[1]} has no such field")
    return Unfit(path.rstrip("."), reason[:1].lower() + reason[1:])
