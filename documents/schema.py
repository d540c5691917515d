"""JSON schemas (draft 2020-12) of the kinds, from the models that read documents, so that the two cannot differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from documents.durations import PATTERN
from documents.envelope import Kind
from documents.kinds import KINDS

DIALECT = "https://json-schema.org/draft/2020-12/schema"
SIMPLE = {"string", "integer", "number", "boolean"}

Object = Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True)
class Field:
    """One field that documents of a kind may have. `path` is as in messages, `[]` for each of a list: `ports[].name`.

    `type` is in words. `required`: by what holds it. `default` is None where there is none to be named.
    """

    path: str
    type: str
    required: bool
    default: JsonValue
    description: str


def schema(kind: Kind) -> dict[str, JsonValue]:
    """The schema of documents of one kind. What only a whole set of documents can show is not in it."""
    made: dict[str, JsonValue] = {"$schema": DIALECT, **kind.model.model_json_schema(mode="validation")}
    made["title"] = kind.name
    return made


def schemas(kinds: tuple[Kind, ...] = KINDS) -> dict[str, dict[str, JsonValue]]:
    """The schema of each kind, by `<kind>.<apiVersion>`."""
    return {f"{kind.name}.{kind.api_version}": schema(kind) for kind in kinds}


def fields(of: Object, *under: str) -> Iterator[Field]:
    """Every field of a schema below `under`, as `fields(schema(kind), "spec")`: first a field, then what is in it.

    A model within itself is gone into once.
    """
    defs = _object(of.get("$defs", {}))
    part: Object = of
    for name in under:
        part = _resolved(_object(_object(part["properties"])[name]), defs)
    yield from _fields(part, defs, "", frozenset())


def _fields(part: Object, defs: Object, prefix: str, within: frozenset[str]) -> Iterator[Field]:
    required = _list(part.get("required", []))
    for name, given in _object(part.get("properties", {})).items():
        field = _object(given)
        path = prefix + name
        said = field.get("description") or next(
            (about for each in _models(field, defs) if (about := _resolved(each, defs).get("description"))),
            "",
        )
        yield Field(path, _type(field, defs), name in required, field.get("default"), _line(str(said)))
        for model in _models(field, defs):
            reference = str(model["$ref"])
            if reference not in within:
                below = f"{path}[]." if _is_list(field) else f"{path}."
                yield from _fields(_resolved(model, defs), defs, below, within | {reference})


def _line(text: str) -> str:
    """The first paragraph, on one line."""
    return " ".join(text.partition("\n\n")[0].split())


def _choices(field: Object) -> list[Object]:
    """What a field may be, None aside."""
    found = [_object(each) for each in _list(field.get("anyOf", []))] or [field]
    return [each for each in found if each.get("type") != "null"]


def _is_list(field: Object) -> bool:
    return any(each.get("type") == "array" for each in _choices(field))


def _models(field: Object, defs: Object) -> Iterator[Object]:
    """References to the models of what is in a field: in itself, in each of a list, in each value of a map."""
    for each in _choices(field):
        if "$ref" in each:
            if "properties" in _resolved(each, defs):
                yield each
        elif each.get("type") == "array":
            yield from _models(_object(each.get("items", {})), defs)


def _type(field: Object, defs: Object) -> str:
    return " or ".join(dict.fromkeys(_one_type(_resolved(each, defs), defs) for each in _choices(field)))


def _one_type(part: Object, defs: Object) -> str:
    if "enum" in part or "const" in part:
        return ", ".join(
            f"`{each}`" if each != "" else '`""`' for each in _list(part.get("enum", [part.get("const")]))
        )
    kind = part.get("type")
    if part.get("pattern") == PATTERN:
        return "duration"
    if part.get("format") == "date-time":
        return "date and time"
    if kind in SIMPLE:
        return f"{kind}{_limits(part)}"
    if kind == "array":
        return f"list of {_type(_object(part.get('items', {})), defs)}{_count(part)}"
    if "properties" in part:
        return "object"
    if kind == "object":
        values = _object(part["additionalProperties"]) if "additionalProperties" in part else {}
        return f"map to {_type(values, defs)}" if values else "object"
    return "anything"


def _limits(part: Object) -> str:
    least, most = part.get("minimum"), part.get("maximum")
    above = part.get("exclusiveMinimum")
    words = [
        f"above {above}" if above is not None else "",
        f"from {least}" if least is not None else "",
        f"to {most}" if most is not None and most != 2**32 - 1 else "",
    ]
    return "".join(f" {word}" for word in words if word)


def _count(part: Object) -> str:
    least, most = part.get("minItems"), part.get("maxItems")
    words = [f"at least {least}" if least else "", f"at most {most}" if most else ""]
    return "".join(f", {word}" for word in words if word)


def _resolved(part: Object, defs: Object) -> Object:
    reference = part.get("$ref")
    return part if reference is None else _object(defs[str(reference).rpartition("/")[2]])


def _object(value: JsonValue | Object) -> Object:
    return value if isinstance(value, Mapping) else {}


def _list(value: JsonValue) -> list[JsonValue]:
    return value if isinstance(value, list) else []
