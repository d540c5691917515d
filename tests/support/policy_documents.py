"""Policies in tests: what one adds at a place, and what is said against a wrong one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import yaml

from documents.parsing import parse
from envoy.seams import Parts
from mesh.names import Key
from mesh.service import Protocol
from pb.envoy.config.route.v3.route_components_pb2 import Route
from policies.kind import PolicyKind, Side, Where
from policies.registry import KINDS

API = Key("default", "api")
CALLEE = Where(Side.CALLEE, "mesh.test", API, Key("default", "api-1"), port=80, policy="default/p")
CALLER = Where(Side.CALLER, "mesh.test", API)


def of(where: Where, protocol: Protocol) -> Where:
    return replace(where, protocol=protocol)


def added(kind: PolicyKind, fields: str, where: Where = CALLEE) -> Parts:
    """What a policy that says `fields` (YAML, as in its spec) adds."""
    return kind.effect(kind.fields.model_validate(yaml.safe_load(fields)), where)


def on_route(parts: Parts) -> dict[str, bytes]:
    """Configurations of filters on the route, by the filter's name."""
    configs = Route.FromString(parts.route).typed_per_filter_config
    return {name: config.value for name, config in configs.items()}


def refusals(kind: str, spec: str, targets: str = "[{kind: Service, name: api}]") -> list[str]:
    """Where in the spec, what is wrong and the remedy, for each error of a policy."""
    text = (
        f"apiVersion: meshwright.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: p}}\n"
        f"spec: {{targetRefs: {targets}, {spec}}}\n"
    )
    errors = parse("p.yaml", text.encode(), KINDS).errors
    return [f"{each.where.path}: {each.reason}. {each.remedy}" for each in errors]


def accepted(document: str) -> None:
    """AssertionError if `document`, an example, is not right."""
    assert not parse("example.yaml", document.encode(), KINDS).errors


def declared(documents: str) -> tuple[Any, ...]:
    """What the documents declare besides services and workloads, for a `SourceSnapshot`."""
    parsed = parse("p.yaml", documents.encode(), KINDS)
    assert not parsed.errors, parsed.errors
    return tuple(parsed.declared())
