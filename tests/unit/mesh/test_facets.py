"""Proxies that differ in policies which cannot matter to them share their scope."""

from __future__ import annotations

import pytest

from mesh import facets
from mesh.events import SourceSnapshot
from mesh.state import MeshState
from mesh.views import OutboundScope, outbound_scope
from policies.weave import Weaver
from tests.support.builders import TRUST_DOMAIN, a_key, a_proxy, a_service
from tests.support.policy_documents import declared

ROUTE = """---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec: {parentRefs: [{group: "", kind: Service, name: api}]}
"""


def seen(kind: str, target: str, said: str, uses: list[str] | None) -> tuple[OutboundScope, OutboundScope]:
    """The scopes of two proxies, of which the policy concerns the first."""
    text = ROUTE + (
        f"---\napiVersion: meshwright.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: p}}\n"
        f"spec: {{targetRefs: [{target}], from: [{{service: web}}], {said}}}\n"
    )
    proxies = a_proxy("web-1", uses=uses), a_proxy("job-1", uses=uses)
    services = tuple(a_service(name) for name in ("api", "store", "web", "job"))
    state, _ = MeshState(TRUST_DOMAIN).apply(SourceSnapshot("test", services, proxies, declared(text)))
    kinds = Weaver().by_callers
    one, other = (
        facets.that_matter(state, outbound_scope(state, state.workloads[each.key]), kinds) for each in proxies
    )
    assert other.facets == frozenset()
    return one, other


TIMEOUT = "TimeoutPolicy", "request: 2s"
LIMIT = "RateLimit", "local: {requests: 5}"
API, A_ROUTE = "{kind: Service, name: api}", "{group: gateway.networking.k8s.io, kind: HTTPRoute, name: r}"


@pytest.mark.parametrize(
    ("policy", "target", "uses", "matters"),
    [
        (TIMEOUT, "{kind: Mesh}", ["store"], True),
        (TIMEOUT, "{kind: Namespace, name: default}", ["store"], True),
        (TIMEOUT, API, ["api"], True),
        (TIMEOUT, API, None, True),
        (TIMEOUT, API, ["store"], False),
        (TIMEOUT, A_ROUTE, ["api"], True),
        (TIMEOUT, A_ROUTE, None, True),
        (TIMEOUT, A_ROUTE, ["store"], False),
        (LIMIT, API, ["api"], False),
        (LIMIT, "{kind: Mesh}", None, False),
    ],
)
def test_only_what_can_matter_splits_a_scope(
    policy: tuple[str, str], target: str, uses: list[str] | None, matters: bool
) -> None:
    one, other = seen(policy[0], target, policy[1], uses)
    assert (one != other) is matters
    assert one.facets == (frozenset({(policy[0], a_key("p"))}) if matters else frozenset())
