from __future__ import annotations

import json
from typing import Any, cast

from documents.kinds import KINDS, SERVICE, WORKLOAD
from documents.schema import schema, schemas


def resolved(whole: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    reference = part.get("$ref")
    return whole["$defs"][reference.rpartition("/")[2]] if reference else part


def test_every_kind_has_a_schema_that_is_json() -> None:
    assert set(schemas()) == {f"{kind.name}.{kind.api_version}" for kind in KINDS}
    json.dumps(schemas())


def test_names_are_those_of_documents_and_others_are_refused() -> None:
    whole = cast("dict[str, Any]", schema(WORKLOAD))
    assert whole["additionalProperties"] is False
    assert whole["required"] == ["apiVersion", "kind", "metadata", "spec"]
    spec = resolved(whole, whole["properties"]["spec"])
    assert spec["additionalProperties"] is False
    assert {"serviceAccount", "outboundPort", "uses"} <= spec["properties"].keys()
    uses = spec["properties"]["uses"]["anyOf"][0]["items"]["anyOf"]
    assert {"type": "string"} in uses


def test_limits_are_in_it() -> None:
    whole = cast("dict[str, Any]", schema(SERVICE))
    port = whole["$defs"]["ServicePortSpec"]["properties"]["port"]
    assert (port["minimum"], port["maximum"]) == (1, 65535)
    assert whole["$defs"]["Metadata"]["properties"]["name"]["maxLength"] == 63
