"""How endpoints are called is reckoned once for members that are alike, and once for all scopes of a state."""

from __future__ import annotations

import pytest

from mesh.events import SourceSnapshot, SourceUpdate
from mesh.state import MeshState
from mesh.transport import BY_SIDECARS
from mesh.views import InboundView, endpoints_views, inbound_view
from mesh.workload import Workload
from policies import transport
from policies.weave import Weaver
from tests.support.builders import TRUST_DOMAIN, a_key, a_proxy, a_service
from tests.support.policy_documents import declared

API = a_key("api")
OFF = """
apiVersion: meshwright.dev/v1alpha1
kind: MeshTLS
metadata: {name: all}
spec: {targetRefs: [{kind: Mesh}], mode: off}
"""
OWN = """
apiVersion: meshwright.dev/v1alpha1
kind: MeshTLS
metadata: {name: own}
spec: {targetRefs: [{kind: Workload, name: api-0}], mode: strict}
"""


@pytest.mark.parametrize("members", [2, 100])
def test_members_that_are_alike_are_asked_once(members: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Workload] = []

    def counted(state: MeshState, workload: Workload) -> InboundView:
        asked.append(workload)
        return inbound_view(state, workload)

    monkeypatch.setattr(transport, "inbound_view", counted)
    proxies = tuple(a_proxy(f"api-{number}", address=f"10.0.0.{number + 1}") for number in range(members))
    state, _ = MeshState(TRUST_DOMAIN).apply(
        SourceSnapshot("test", (a_service("api"),), proxies, declared(OFF))
    )
    weaver = Weaver()
    how = weaver.called(state, API, BY_SIDECARS)
    assert how is not None
    (view,) = endpoints_views(state, API, called=how)
    assert [each.meshed for each in view.endpoints] == [False] * members
    assert len(asked) == 1
    assert weaver.called(state, API, BY_SIDECARS) is how, "another scope"
    state, _ = state.apply(SourceUpdate("own", declared=declared(OWN)))
    other = weaver.called(state, API, BY_SIDECARS)
    (view,) = endpoints_views(state, API, called=other)
    assert [each.meshed for each in view.endpoints] == [True] + [False] * (members - 1)
    assert len(asked) == 2, "of its own it has strict, which needs no asking"
