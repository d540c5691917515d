"""CustomResourceDefinitions of our kinds, made of the models that read documents, so that the two cannot differ. Pure."""

from __future__ import annotations

from typing import Any, Final

from documents.envelope import API_VERSION, Kind
from documents.gateway_api.common import OWN_GROUP
from documents.schema import schema
from mesh.targeting import Level
from meshwright.kubernetes.crd_columns import columns, short_names
from meshwright.kubernetes.crd_rules import BARE, MOST_TARGETS, REQUIRED, RULES, TARGETS, Rule
from meshwright.kubernetes.structural import Schema, structural
from policies.document import ROUTES
from policies.registry import POLICIES
from store.kubernetes_kinds import own_kinds, plural

CATEGORIES: Final = ("meshwright", "mesh")
"""`kubectl get meshwright` shows objects of all our kinds."""
_KINDS_AT: Final = {
    Level.MESH: ("Mesh",),
    Level.NAMESPACE: ("Namespace",),
    Level.SERVICE: ("Service",),
    Level.WORKLOAD: ("Workload",),
    Level.ROUTE: ROUTES,
}
_CONDITION: Final[Schema] = {
    "type": "object",
    "required": ["type", "status", "lastTransitionTime", "reason", "message"],
    "properties": {
        "type": {"type": "string", "maxLength": 316},
        "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
        "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
        "lastTransitionTime": {"type": "string", "format": "date-time"},
        "reason": {"type": "string", "minLength": 1, "maxLength": 1024},
        "message": {"type": "string", "maxLength": 32768},
    },
}
_STATUS: Final[Schema] = {
    "type": "object",
    "description": "Written by the control plane.",
    "properties": {
        "observedGeneration": {
            "type": "integer",
            "format": "int64",
            "description": "The generation that the rest is about.",
        },
        "conditions": {
            "type": "array",
            "description": "Accepted: it is in force. Programmed: every proxy that is connected has acknowledged it.",
            "items": _CONDITION,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
        },
    },
}


def crds() -> list[dict[str, Any]]:
    """Of every kind of ours that exists in clusters, by name."""
    return sorted((_crd(kind) for kind in own_kinds()), key=lambda crd: str(crd["metadata"]["name"]))


def _crd(kind: Kind) -> dict[str, Any]:
    name, version = plural(kind.name), API_VERSION.partition("/")[2]
    made = _schema(kind)
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{name}.{OWN_GROUP}"},
        "spec": {
            "group": OWN_GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind.name,
                "listKind": f"{kind.name}List",
                "plural": name,
                "singular": kind.name.lower(),
                **({"shortNames": short} if (short := short_names(kind.name)) else {}),
                "categories": list(CATEGORIES),
            },
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": made},
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": columns(kind.name, targets=_targets(made), schema=made),
                }
            ],
        },
    }


def _schema(kind: Kind) -> Schema:
    said = schema(kind)
    policy = next((each for each in POLICIES if each.name == kind.name), None)
    # What a policy leaves out it leaves to policies farther away: a default that the server fills in would take that from them.
    whole = structural(said, defaults=policy is None)
    spec = whole["properties"]["spec"]
    if "targetRefs" in spec["properties"]:
        spec["properties"]["targetRefs"]["maxItems"] = MOST_TARGETS
    if policy is not None:
        kinds = [each for level in sorted(policy.levels) for each in _KINDS_AT[level]]
        spec["properties"]["targetRefs"]["items"]["properties"]["kind"]["enum"] = kinds
    if kind.name in REQUIRED:
        spec["required"] = [*spec.get("required", ()), *REQUIRED[kind.name]]
    if kind.name in BARE:
        bare, field = BARE[kind.name]
        # There only to be refused with the way out: the server would call it an unknown field.
        spec["properties"][bare] = {
            **spec["properties"][field],
            "description": f'Not a field: "{field}" without quotes.',
        }
    for rule in (*(TARGETS if policy is not None else ()), *RULES.get(kind.name, ())):
        _add(spec, rule)
    return {
        "type": "object",
        "description": whole.get("description", ""),
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object", "properties": {"name": _name(whole)}},
            "spec": spec,
            "status": _STATUS,
        },
    }


def _name(whole: Schema) -> Schema:
    name = whole["properties"]["metadata"]["properties"]["name"]
    return {"type": "string", "pattern": name["pattern"], "maxLength": name["maxLength"]}


def _targets(made: Schema) -> bool:
    return "targetRefs" in made["properties"]["spec"]["properties"]


def _add(spec: Schema, rule: Rule) -> None:
    part = spec
    for step in rule.at:
        part = part["items"] if step == "[]" else part["properties"][step]
    part.setdefault("x-kubernetes-validations", []).append(rule.manifest())
