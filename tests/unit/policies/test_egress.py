"""EgressPolicy: what it adds to the listeners of a workload."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from documents.parsing import parse
from envoy.seams import NOTHING, Parts
from mesh.names import Key
from pb.envoy.config.route.v3.route_components_pb2 import Route
from pb.envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBACPerRoute
from policies.egress import EXAMPLE, FILTER, NEVER, EgressFields, effect
from policies.kind import Side, Where
from policies.registry import KINDS

CALLS = Where(Side.CALLER, "mesh.test", workload=Key("default", "web-1"))


def refused(parts: Parts) -> RBACPerRoute:
    return RBACPerRoute.FromString(Route.FromString(parts.unknown).typed_per_filter_config[FILTER].value)


def test_unknown_hosts_lead_to_no_address_of_the_host_itself() -> None:
    parts = effect(EgressFields.model_validate({"unknown": "allow"}), CALLS)
    assert len(refused(parts).rbac.rules.policies["addresses"].permissions) == len(NEVER)
    assert not parts.refuse_unknown


def test_which_networks_are_refused_can_be_said() -> None:
    parts = effect(EgressFields.model_validate({"unknown": "allow", "never": []}), CALLS)
    assert parts.unknown
    assert FILTER not in Route.FromString(parts.unknown).typed_per_filter_config
    with pytest.raises(ValidationError, match="is not a network"):
        EgressFields.model_validate({"never": ["10.0.0.1/8"]})


def test_the_registry_only() -> None:
    assert effect(EgressFields.model_validate({"unknown": "registryOnly"}), CALLS) == Parts(
        refuse_unknown=True
    )


def test_calls_to_the_workload_are_not_concerned() -> None:
    inbound = Where(Side.CALLEE, "mesh.test")
    assert effect(EgressFields.model_validate({"unknown": "allow"}), inbound) == NOTHING


def test_the_example_and_what_is_wrong() -> None:
    assert not parse("f.yaml", EXAMPLE.encode(), KINDS).errors
    wrong = EXAMPLE.replace("  unknown", "  from: [{service: web}]\n  unknown")
    assert "concerns the calls of its targets" in str(parse("f.yaml", wrong.encode(), KINDS).errors[0])
