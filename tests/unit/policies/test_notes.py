"""What is said in vain, of every kind of document."""

from __future__ import annotations

import pytest

from documents.parsing import parse
from mesh.events import SourceSnapshot
from mesh.state import MeshState
from policies.notes import all_notes, route_notes
from policies.registry import KINDS
from tests.support.builders import a_proxy, a_service, a_workload

TIMEOUT = """
apiVersion: meshwright.dev/v1alpha1
kind: TimeoutPolicy
metadata: {name: t}
spec: {targetRefs: [{kind: Service, name: api}], request: 1s, from: [CALLER]}
"""
SUBSET = """
apiVersion: meshwright.dev/v1alpha1
kind: ServiceSubset
metadata: {name: s}
spec: {service: SERVICE, labels: {version: v9}}
"""
ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec:
  parentRefs: [{group: "", kind: Service, name: api}]
  rules: [{backendRefs: [{name: wbe, port: 80}]}]
"""


def state(document: str) -> MeshState:
    parsed = parse("p.yaml", document.encode(), KINDS)
    assert not parsed.errors, parsed.errors
    snapshot = SourceSnapshot(
        "s", (a_service("api"),), (a_workload("api-1"), a_proxy("web-1")), tuple(parsed.declared())
    )
    return MeshState("mesh.test").apply(snapshot)[0]


@pytest.mark.parametrize(
    ("document", "note"),
    [
        (
            TIMEOUT.replace("CALLER", "{service: wbe}"),
            "TimeoutPolicy default/t: from: nobody yet: there is no service default/wbe",
        ),
        (
            TIMEOUT.replace("CALLER", "{workload: wbe-1}"),
            "TimeoutPolicy default/t: from: nobody yet: there is no workload default/wbe-1",
        ),
        (
            TIMEOUT.replace("CALLER", "{serviceAccount: nobody}"),
            "TimeoutPolicy default/t: from: nobody yet: no workload of default has the service account nobody",
        ),
        (
            SUBSET.replace("SERVICE", "apii"),
            "ServiceSubset default/s: there is no service default/apii (yet)",
        ),
        (
            SUBSET.replace("SERVICE", "api"),
            "ServiceSubset default/s: no workload of default/api has the labels version=v9: requests to it find no endpoint",
        ),
    ],
)
def test_each_has_its_words(document: str, note: str) -> None:
    assert list(all_notes(state(document))) == [note]


def test_who_calls_is_there() -> None:
    assert not list(all_notes(state(TIMEOUT.replace("CALLER", "{workload: web-1}"))))


def test_a_route_to_what_is_not_there() -> None:
    (note,) = route_notes(state(ROUTE))
    assert note.startswith(
        "HTTPRoute default/r: ResolvedRefs is not met at Service default/api: BackendNotFound: "
    )
