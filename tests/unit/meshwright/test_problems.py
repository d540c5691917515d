"""What is told of what is wrong: one fault ends nothing, what one sees takes nothing back of another's, and it goes with its cause."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from envoy.render import Renderer
from envoy.seams import ListenerSeams
from mesh.events import SourceSnapshot
from mesh.names import Key
from mesh.service import Service
from mesh.state import MeshState
from mesh.views import InboundView
from mesh.workload import Workload, WorkloadPort
from meshwright.problems import Problems
from meshwright.publisher import Publisher, Update
from meshwright.scopes import Outbound, Undiscovered
from policies.registry import POLICIES
from policies.weave import Weaver
from tests.support.builders import TRUST_DOMAIN, a_proxy, a_service, a_workload
from tests.support.policy_documents import declared
from tests.support.publishing import told

WEB_1 = "workload default/web-1"
ROUTE = """---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec:
  parentRefs: [{group: "", kind: Service, name: api}]
  rules: [{timeouts: {request: 5s}, backendRefs: [{name: api, port: 80}]}]
"""


def a_policy(kind: str, name: str, spec: str) -> str:
    return f"---\napiVersion: meshwright.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"


BASE = a_policy("RetryPolicy", "base", "targetRefs: [{kind: Service, name: api}], backoff: {base: 10s}")
MOST = a_policy("RetryPolicy", "most", "targetRefs: [{kind: Mesh}], backoff: {max: 1s}")
MOST_FOR_WEB = a_policy(
    "RetryPolicy", "most", "targetRefs: [{kind: Mesh}], backoff: {max: 1s}, from: [{service: web}]"
)
TOGETHER = "RetryPolicy at service default/api"


class Mesh:
    def __init__(
        self, *values: Service | Workload, documents: str = "", weaver: Weaver | None = None
    ) -> None:
        self.state = MeshState(TRUST_DOMAIN)
        self.publisher = Publisher(self.state, Renderer(), weaver)
        self.tell(*values, documents=documents)

    def tell(self, *values: Service | Workload, documents: str = "") -> Update:
        """All that there is."""
        services = tuple(each for each in values if isinstance(each, Service))
        workloads = tuple(each for each in values if isinstance(each, Workload))
        said = declared(documents) if documents else ()
        self.state, changes = self.state.apply(SourceSnapshot("test", services, workloads, said))
        return told(self.publisher, self.state, changes)

    def attach(self, *names: str) -> None:
        for name in names:
            self.publisher.attach(Key("default", name), proved=True, proxyless=False)

    @property
    def problems(self) -> dict[str, str]:
        return self.publisher.problems


class Failing(Weaver):
    """A fault that no document can cause: a sidecar's listeners cannot be told."""

    fails = False

    def listeners(self, state: MeshState, workload: Workload, inbound: InboundView) -> ListenerSeams:
        if self.fails:
            raise RuntimeError("nobody foresaw this")
        return super().listeners(state, workload, inbound)


def test_a_workload_whose_scopes_cannot_be_told_keeps_what_it_has() -> None:
    weaver = Failing()
    mesh = Mesh(a_service("web"), a_proxy("web-1"), weaver=weaver)
    mesh.attach("web-1")
    weaver.fails = True
    update = mesh.tell(a_service("web"), a_service("api"), a_proxy("web-1", sidecar=15102))
    assert update.rescoped == {}
    assert {type(change.scope) for change in update.changes} == {Outbound}
    assert mesh.problems == {
        WEB_1: "what it is given cannot be told: RuntimeError: nobody foresaw this",
    }
    weaver.fails = False
    assert mesh.tell(a_service("web"), a_proxy("web-1", sidecar=15103)).rescoped
    assert mesh.problems == {}


def test_one_whose_scopes_cannot_be_told_at_first_waits_for_them() -> None:
    weaver = Failing()
    mesh = Mesh(a_service("web"), a_proxy("web-1"), weaver=weaver)
    weaver.fails = True
    scopes, _ = mesh.publisher.attach(Key("default", "web-1"), proved=True, proxyless=False)
    assert scopes == (Undiscovered(Key("default", "web-1")),)
    weaver.fails = False
    assert mesh.tell(a_service("web"), a_proxy("web-1", sidecar=15103)).rescoped
    assert mesh.problems == {}


@pytest.mark.parametrize("place", ["inline", "join"])
def test_a_kind_that_fails_at_one_place_is_left_out_there(place: str) -> None:
    def fails(_: object) -> Any:
        raise RuntimeError("nobody foresaw this")

    failing = {"inline": "TimeoutPolicy", "join": "RateLimit"}[place]
    wrong: dict[str, Any] = {place: fails}
    kinds = tuple(replace(each, **wrong) if each.name == failing else each for each in POLICIES)
    limits = "".join(
        a_policy("RateLimit", name, "targetRefs: [{kind: Workload, name: api-1}], local: {requests: 5}")
        for name in ("a", "b")
    )
    api = a_service("api"), a_proxy("api-1")
    mesh = Mesh(*api, documents=ROUTE + limits, weaver=Weaver(kinds))
    mesh.attach("api-1")
    ((subject, why),) = mesh.problems.items()
    assert subject.startswith(f"{failing} at ")
    assert "left out" in why
    assert why.endswith("RuntimeError: nobody foresaw this")
    mesh.tell(*api)
    assert mesh.problems == {}


def test_what_is_wrong_goes_with_the_last_policy() -> None:
    mesh = Mesh(a_service("api"), a_service("web"), a_proxy("web-1"), documents=BASE + MOST)
    mesh.attach("web-1")
    assert list(mesh.problems) == [TOGETHER]
    mesh.tell(a_service("api"), a_service("web"), a_proxy("web-1"))
    assert mesh.problems == {}


def test_what_is_wrong_goes_with_the_service() -> None:
    mesh = Mesh(a_service("api"), a_service("web"), a_proxy("web-1"), documents=BASE + MOST)
    mesh.attach("web-1")
    mesh.tell(a_service("web"), a_proxy("web-1"), documents=BASE + MOST)
    assert mesh.problems == {}


def test_endpoints_that_cannot_be_rendered_are_forgotten_with_their_service() -> None:
    web = a_service("web"), a_proxy("web-1")
    mesh = Mesh(*web, a_service("api"), a_workload("api-1"))
    mesh.attach("web-1")
    mesh.tell(*web, a_service("api"), a_workload("api-1", weight=2**33))
    assert list(mesh.problems) == ["endpoints of service default/api"]
    mesh.tell(*web)
    assert mesh.problems == {}


@pytest.mark.parametrize("gone", ["workload", "stream"])
def test_what_is_wrong_goes_with_the_workload_and_with_its_last_stream(gone: str) -> None:
    web, good = a_service("web"), a_proxy("web-1")
    mesh = Mesh(web, good)
    mesh.attach("web-1")
    mesh.tell(web, replace(good, ports=(WorkloadPort("http", 9001, 70000),)))
    assert list(mesh.problems) == [WEB_1]
    if gone == "workload":
        mesh.tell(web)
    else:
        mesh.publisher.detach("default/web-1", 0.0)
    assert mesh.problems == {}


def test_what_is_wrong_for_some_callers_is_not_taken_back_by_others() -> None:
    values = (a_service("api"), a_service("web"), a_service("job"), a_proxy("web-1"), a_proxy("job-1"))
    mesh = Mesh(*values, documents=BASE + MOST_FOR_WEB)
    mesh.attach("web-1", "job-1")
    assert list(mesh.problems) == [TOGETHER]
    mesh.publisher.detach("default/web-1", 0.0)
    mesh.publisher.sweep(100.0)
    assert mesh.problems == {}


def test_listeners_go_back_to_what_they_were_and_nothing_is_wrong() -> None:
    web, good = a_service("web"), a_proxy("web-1")
    mesh = Mesh(web, good)
    mesh.attach("web-1")
    mesh.tell(web, replace(good, ports=(WorkloadPort("http", 9001, 70000),)))
    assert list(mesh.problems) == [WEB_1]
    mesh.tell(web, good)
    assert mesh.problems == {}


def test_problems_are_kept_by_holder() -> None:
    problems = Problems()
    problems.refuse("a", "x", "why")
    problems.refuse("b", "x", "why too")
    problems.mended("a", "x")
    assert problems.refused == {"x": "why too"}
    problems.leave_out("b", "x", {"patch": "no"})
    assert problems.left_out == {"patch": "no"}
    problems.leave_out("b", "x", {})
    assert problems.left_out == {}
    problems.forget("b")
    assert problems.refused == {}
