"""Where a proxy does not have what the mesh says, no document is named for what it has."""

from __future__ import annotations

from explain.answer import Step
from explain.explaining import explain_live
from explain.question import Question
from explain.resources import Table
from explain.world import World
from mesh.events import SourceSnapshot
from mesh.state import MeshState
from tests.support.builders import TRUST_DOMAIN, a_key, a_proxy, a_service
from tests.support.envoy_static import rendered
from tests.support.policy_documents import declared

LIMITS = """\
apiVersion: meshwright.dev/v1alpha1
kind: RetryPolicy
metadata: {{name: api}}
spec: {{targetRefs: [{{kind: Service, name: api}}], attempts: {}}}
---
apiVersion: meshwright.dev/v1alpha1
kind: TimeoutPolicy
metadata: {{name: patient}}
spec: {{targetRefs: [{{kind: Service, name: api}}], request: 9s}}
"""


def a_state(attempts: int) -> MeshState:
    services = (a_service("web"), a_service("api"))
    workloads = (a_proxy("web-1", uses=["api"]), a_proxy("api-1", uses=()))
    told = declared(LIMITS.format(attempts))
    return MeshState(TRUST_DOMAIN).apply(SourceSnapshot("files", services, workloads, told))[0]


def limits(said: int, has: int) -> Step:
    """Of a proxy that has retries as if `has` were said, where `said` is."""
    state, table = a_state(said), Table()
    for each in rendered(a_state(has), "default/web-1"):
        table.add_encoded(each.type_url, each.name, each.body, ())
    question = Question(caller="default/web-1", to="api")
    found = explain_live(World.of(state), question, state.workloads[a_key("web-1")], table)
    return next(each for each in found.root.every_step() if each.stage == "limits")


def test_what_differs_has_no_document_and_the_rest_has() -> None:
    step = limits(said=3, has=2)
    timeout, retries = step.details
    assert timeout.startswith("timeout 9s: TimeoutPolicy default/patient, spec.request")
    assert retries.startswith("retries at most 2, of ")
    assert retries.endswith(": what the mesh says is otherwise")
    assert [each.document for each in step.sources] == ["TimeoutPolicy default/patient"]


def test_what_is_the_same_keeps_its_documents() -> None:
    step = limits(said=2, has=2)
    assert "RetryPolicy default/api, spec.attempts" in step.details[1]
    assert len(step.sources) == 2
