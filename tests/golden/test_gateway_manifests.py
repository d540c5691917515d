"""What is made in Kubernetes for the Gateway and the ListenerSet of `gateways/whole.yaml`: `gateways/whole.out.yaml`.

`make golden` (MESHWRIGHT_REWRITE_GOLDENS=1) rewrites it.
"""

from __future__ import annotations

import os
from pathlib import Path

import yaml

from documents.parsing import parse
from inject.options import InjectOptions
from mesh.events import SourceSnapshot
from mesh.gateways import Gateway
from mesh.listener_sets import whole
from mesh.names import Key
from mesh.state import MeshState
from meshwright.kubernetes.gateway_manifests import GatewayOptions, Infrastructure, manifests
from meshwright.kubernetes.gateway_parameters import with_parameters
from policies.registry import KINDS

FOLDER = Path(__file__).with_name("gateways")
REWRITE = os.environ.get("MESHWRIGHT_REWRITE_GOLDENS") == "1"


def test_what_is_made_for_a_gateway() -> None:
    parsed = parse("whole.yaml", (FOLDER / "whole.yaml").read_bytes(), KINDS)
    assert not parsed.errors
    state = MeshState("mesh.local").apply(SourceSnapshot("file", declared=tuple(parsed.declared())))[0]
    gateway = state.declared["Gateway", Key("infra", "edge")]
    assert isinstance(gateway, Gateway)
    passed_on = Infrastructure(
        "00000000-0000-0000-0000-000000000007",
        "gateway.networking.k8s.io/v1",
        {"team": "edge"},
        {"example.com/load-balancer": "internal"},
    )
    options = GatewayOptions(InjectOptions(image="registry.example/meshwright:1"))
    said = with_parameters(options, {"serviceType": "ClusterIP", "replicas": "2", "cpu": "100m"})
    made = yaml.dump_all(
        [manifest for _, manifest in manifests(whole(state, gateway), passed_on, said)],
        sort_keys=False,
        Dumper=_NoAliases,
    )
    golden = FOLDER / "whole.out.yaml"
    if REWRITE:
        golden.write_text(made)
    assert made == golden.read_text()


class _NoAliases(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        del data
        return True
