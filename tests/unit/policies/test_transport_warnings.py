"""Whoever turns strict on is told of callers that spoke plaintext within the last hour."""

from __future__ import annotations

import pytest

from mesh.events import SourceSnapshot
from mesh.names import Key
from mesh.state import MeshState
from policies.transport import refused
from tests.support.builders import TRUST_DOMAIN, a_key, a_proxy, a_service
from tests.support.policy_documents import declared

LATELY = {(a_key("api"), 80): ("10.0.0.7 (default/batch-1)",), (a_key("gone"), 80): ("10.0.0.8",)}


def a_mesh(*policies: tuple[str, str, str]) -> MeshState:
    """Each of `policies` is a name, a target and a mode."""
    text = "---\n".join(
        f"apiVersion: meshwright.dev/v1alpha1\nkind: MeshTLS\nmetadata: {{name: {name}}}\n"
        f"spec: {{targetRefs: [{target}], mode: {mode}}}\n"
        for name, target, mode in policies
    )
    return _applied(text)


def _applied(text: str) -> MeshState:
    values = declared(text) if text else ()
    return MeshState(TRUST_DOMAIN).apply(
        SourceSnapshot("file", (a_service("api"),), (a_proxy("api-1"),), values)
    )[0]


MESH, API, OTHER = "{kind: Mesh}", "{kind: Service, name: api}", "{kind: Service, name: other}"
NAMED = ("MeshTLS", Key("default", "p"))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([("p", MESH, "permissive")], [("p", MESH, "strict")]),
        ([("p", API, "off")], [("p", API, "strict")]),
        ([("p", API, "permissive")], []),
        ([("all", MESH, "permissive")], [("all", MESH, "permissive"), ("p", API, "strict")]),
    ],
)
def test_whom_it_refuses(before: list[tuple[str, str, str]], after: list[tuple[str, str, str]]) -> None:
    ((name, why),) = refused(a_mesh(*before), a_mesh(*after), LATELY)
    assert name == NAMED
    assert why == (
        "strict at service default/api, port 80: callers that spoke plaintext to it within the last hour are refused now: "
        "10.0.0.7 (default/batch-1). `meshwright plaintext` tells more; mode permissive takes them again"
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], [("p", API, "strict")]),
        ([("p", API, "permissive")], [("p", API, "off")]),
        ([("p", API, "strict")], [("p", API, "permissive")]),
        ([("p", API, "permissive"), ("q", OTHER, "off")], [("p", API, "permissive"), ("q", OTHER, "strict")]),
    ],
)
def test_nobody_is_refused(before: list[tuple[str, str, str]], after: list[tuple[str, str, str]]) -> None:
    assert not list(refused(a_mesh(*before), a_mesh(*after), LATELY))


def test_of_many_callers_some_are_named() -> None:
    many = {(a_key("api"), 80): tuple(f"10.0.0.{number}" for number in range(9))}
    ((_, why),) = refused(a_mesh(("p", API, "off")), a_mesh(("p", API, "strict")), many)
    assert "10.0.0.0, 10.0.0.1, 10.0.0.2, 10.0.0.3, 10.0.0.4 and 4 more." in why
