"""The definitions of our kinds: up to date where they are written, structural, and with columns for each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshwright.kubernetes import crd_files
from meshwright.kubernetes.crd_columns import SAYS
from meshwright.kubernetes.crd_rules import RULES
from meshwright.kubernetes.crds import crds
from meshwright.kubernetes.structural import structural
from store.kubernetes_kinds import own_kinds
from tests.support.binaries import ROOT

CRDS = crds()


def schema_of(crd: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


def of(kind: str) -> dict[str, Any]:
    return next(schema_of(each) for each in CRDS if each["spec"]["names"]["kind"] == kind)


def parts(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, each in schema.get("properties", {}).items():
        yield from parts(each, f"{path}.{name}")
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            yield from parts(schema[name], f"{path}[]")


def test_what_is_written_is_up_to_date() -> None:
    folder = ROOT / "deploy" / "kubernetes" / "crds"
    written = {path.name: path.read_text() for path in Path(folder).glob("*.yaml")}
    assert written == crd_files.files(), "run `make crds`"


def test_each_kind_of_a_cluster_has_one_with_names_of_its_own() -> None:
    kinds = {each.name for each in own_kinds()}
    assert {each["spec"]["names"]["kind"] for each in CRDS} == kinds == SAYS.keys()
    assert RULES.keys() <= kinds
    names = [
        name
        for each in CRDS
        for name in (each["spec"]["names"]["plural"], *each["spec"]["names"].get("shortNames", ()))
    ]
    assert len(set(names)) == len(names)
    assert "retry" in names, "as the command line calls it"
    assert "svc" not in names, "that is a Service of the core group"


@pytest.mark.parametrize("crd", CRDS, ids=lambda crd: str(crd["spec"]["names"]["kind"]))
def test_schemas_are_structural(crd: dict[str, Any]) -> None:
    for path, each in parts(schema_of(crd)):
        free = {"x-kubernetes-preserve-unknown-fields", "x-kubernetes-int-or-string"} & each.keys()
        assert "type" in each or free, path
        assert not {"$ref", "anyOf", "const", "$defs", "title"} & each.keys(), path
        assert each.get("additionalProperties") is not False, path
        assert not ("properties" in each and "additionalProperties" in each), path


def test_columns_say_what_is_targeted_and_whether_it_is_in_force() -> None:
    for crd in CRDS:
        columns = crd["spec"]["versions"][0]["additionalPrinterColumns"]
        names = [each["name"] for each in columns if not each.get("priority")]
        assert {"Accepted", "Reason", "Programmed", "Age"} <= {*names}
        if crd["spec"]["names"]["kind"].endswith("Policy"):
            assert names[0] == "Target"


def test_a_policy_gets_no_defaults_for_what_it_leaves_to_others() -> None:
    assert [path for path, each in parts(of("RetryPolicy")) if "default" in each] == []
    assert (
        of("Service")["properties"]["spec"]["properties"]["ports"]["items"]["properties"]["protocol"][
            "default"
        ]
        == "tcp"
    )


def test_a_policy_takes_those_targets_that_can_enforce_it() -> None:
    def kinds(kind: str) -> list[str]:
        items = of(kind)["properties"]["spec"]["properties"]["targetRefs"]["items"]
        found: list[str] = items["properties"]["kind"]["enum"]
        return found

    assert "Workload" not in kinds("RetryPolicy")
    assert kinds("EgressPolicy") == ["Mesh", "Namespace", "Workload"]


def test_what_has_no_structure() -> None:
    assert structural({"anyOf": [{"type": "integer"}, {"type": "string"}]}, defaults=True) == {
        "x-kubernetes-int-or-string": True
    }
    assert structural({"anyOf": [{"type": "string"}, {"type": "object"}]}, defaults=True) == {
        "x-kubernetes-preserve-unknown-fields": True
    }
    assert structural({"type": "object"}, defaults=True) == {
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": True,
    }


def test_what_may_be_null_and_what_is_above_a_limit() -> None:
    said = {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "null"}], "description": "A share."}
    assert structural(said, defaults=True) == {
        "type": "number",
        "minimum": 0,
        "exclusiveMinimum": True,
        "nullable": True,
        "description": "A share.",
    }
