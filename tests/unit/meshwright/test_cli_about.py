"""What a document is about and how it is, in a few words."""

from __future__ import annotations

from typing import Any

import pytest

from meshwright.commands.about import about, created, kept_in, said_of, state


def a_document(kind: str, spec: dict[str, Any], status: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": "x"}, "spec": spec, "status": status or {}}


@pytest.mark.parametrize(
    ("kind", "spec", "said"),
    [
        ("Service", {"ports": [{"port": 80, "protocol": "http"}, {"port": 5432}]}, "80/http 5432/tcp"),
        ("Workload", {"services": ["api", "web"], "address": "10.0.0.1"}, "api, web at 10.0.0.1"),
        ("ServiceSubset", {"service": "api", "labels": {"version": "v2"}}, "api with version=v2"),
        ("Gateway", {"listeners": [{"port": 443, "protocol": "HTTPS"}]}, "443/HTTPS"),
        (
            "HTTPRoute",
            {"hostnames": ["a.test"], "parentRefs": [{"kind": "Service", "name": "api"}]},
            "a.test → Service api",
        ),
        ("HTTPRoute", {"parentRefs": [{"name": "edge"}]}, "→ Gateway edge"),
        (
            "RetryPolicy",
            {"targetRefs": [{"kind": "Service", "name": "api"}], "from": [{"service": "web"}]},
            "→ Service api from service web",
        ),
        ("Tracing", {"targetRefs": [{"kind": "Mesh"}]}, "→ Mesh"),
        ("Tracing", {}, ""),
    ],
)
def test_about(kind: str, spec: dict[str, Any], said: str) -> None:
    assert about(a_document(kind, spec)) == said


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ({}, "ok"),
        ({"inForce": True}, "ok"),
        ({"inForce": None}, "ok"),
        ({"inForce": False}, "NotInForce"),
        ({"quarantined": ["Envoy refuses it"], "inForce": False}, "Quarantined,NotInForce"),
        ({"errors": ["line 3: no"]}, "Errors"),
        ({"rollout": "r1"}, "RollingOut"),
        ({"notes": ["no effect"]}, "noted"),
        ({"conditions": [{"type": "Accepted", "status": "True", "reason": "Accepted"}]}, "ok"),
        (
            {"conditions": [{"type": "ResolvedRefs", "status": "False", "reason": "BackendNotFound"}]},
            "BackendNotFound",
        ),
        ({"conditions": [{"type": "Conflicted", "status": "False", "reason": "NoConflicts"}]}, "ok"),
        (
            {"conditions": [{"type": "Conflicted", "status": "True", "reason": "HostConflict"}]},
            "HostConflict",
        ),
    ],
)
def test_state(status: dict[str, Any], said: str) -> None:
    assert state(a_document("HTTPRoute", {}, status)) == said


def test_the_worst_is_said_first() -> None:
    status = {"notes": ["n"], "rollout": "r1", "quarantined": ["q"], "inForce": False}
    assert [text.partition(":")[0] for text, _ in said_of(status)] == [
        "quarantined",
        "not in force",
        "on its way by rollout r1",
        "note",
    ]


def test_where_it_is_kept_and_since_when() -> None:
    of_a_file = a_document("Service", {}, {"file": "shop.yaml:3", "readOnly": True})
    assert kept_in(of_a_file) == "shop.yaml:3"
    assert kept_in(a_document("Service", {})) == "store"
    assert created(of_a_file) is None
    assert created({"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}}) is not None
