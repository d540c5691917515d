"""JSON schemas of documents as structural schemas, which is what a CustomResourceDefinition takes. Pure.

https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema

References are written out; `const` is an `enum` of one; what may be null is `nullable`. What may be of several types has no structure there and
is left to the webhook and to us, but for numbers or text, which Kubernetes knows. Unknown fields are refused by the server itself
(`fieldValidation=Strict`, kubectl's default), so that `additionalProperties: false` is not said.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

Schema = dict[str, Any]

_TAKEN: Final = (
    "description", "enum", "pattern", "format", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "minProperties",
    "maxProperties", "required",
)  # fmt: skip
_FORMATS: Final = frozenset({"date-time"})
_ANYTHING: Final = "x-kubernetes-preserve-unknown-fields"


def structural(schema: Mapping[str, Any], *, defaults: bool) -> Schema:
    """`schema`, as pydantic makes it. `defaults`: the server fills in those of single values; not where it matters what a document leaves out."""
    return _part(schema, schema.get("$defs", {}), defaults=defaults)


def _part(given: Mapping[str, Any], definitions: Mapping[str, Any], *, defaults: bool) -> Schema:
    part = _resolved(given, definitions)
    choices = [_resolved(each, definitions) for each in part.get("anyOf", ())]
    if choices:
        some = [each for each in choices if each.get("type") != "null"]
        made = _part(some[0], definitions, defaults=defaults) if len(some) == 1 else _union(some)
        if len(some) < len(choices):
            made["nullable"] = True
        # What is said of the field counts for more than what is said of its type.
        made |= {name: part[name] for name in ("description",) if name in part}
    else:
        made = _single(part, definitions, defaults=defaults)
    default = part.get("default")
    if defaults and isinstance(default, str | int | float | bool) and _fits(default, made):
        made["default"] = default
    return made


def _fits(default: object, made: Schema) -> bool:
    """Pydantic writes durations of its own as ISO 8601 (PT2M), and documents have another form."""
    return "pattern" not in made or re.fullmatch(made["pattern"], str(default)) is not None


def _single(part: Mapping[str, Any], definitions: Mapping[str, Any], *, defaults: bool) -> Schema:
    made: Schema = {name: part[name] for name in _TAKEN if name in part}
    if "description" in made:
        made["description"] = " ".join(made["description"].partition("\n\n")[0].split())
    if made.get("format") not in _FORMATS:
        made.pop("format", None)
    if "const" in part:
        made["enum"] = [part["const"]]
    if "exclusiveMinimum" in part:
        made |= {"minimum": part["exclusiveMinimum"], "exclusiveMinimum": True}
    kind = part.get("type")
    if kind is None:
        return made | {_ANYTHING: True}
    made["type"] = kind
    if kind == "array":
        made["items"] = _part(part.get("items", {}), definitions, defaults=defaults)
    elif "properties" in part:
        made["properties"] = {
            name: _part(each, definitions, defaults=defaults) for name, each in part["properties"].items()
        }
    elif kind == "object":
        values = part.get("additionalProperties") or next(
            iter(part.get("patternProperties", {}).values()), None
        )
        if isinstance(values, Mapping):
            made["additionalProperties"] = _part(values, definitions, defaults=defaults)
        else:
            made[_ANYTHING] = True
    return made


def _union(choices: list[Mapping[str, Any]]) -> Schema:
    if {each.get("type") for each in choices} == {"integer", "string"}:
        return {"x-kubernetes-int-or-string": True}
    return {_ANYTHING: True}


def _resolved(part: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is said beside a reference counts for more than what it refers to."""
    if "$ref" not in part:
        return part
    found = _resolved(definitions[part["$ref"].rpartition("/")[2]], definitions)
    return {**found, **{name: each for name, each in part.items() if name != "$ref"}}
