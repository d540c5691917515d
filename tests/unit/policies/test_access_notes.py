"""What whoever writes an access policy is told: what is in vain, and what it means for others."""

from __future__ import annotations

import pytest

from documents.parsing import parse
from envoy.render import Renderer
from mesh.events import SourceUpdate
from mesh.state import MeshState
from policies.effects import effect
from policies.notes import all_notes
from policies.registry import KINDS
from policies.weave import Weaver
from tests.support.access_cases import document, state

OTHER = "kind: Service, name: other, namespace: other"
TCP = "kind: Service, name: tcp"
ECHO = "port 7000 (tcp) of service default/tcp, port 7001 (tcp) of service default/tcp"


def told(said: str, target: str, *more: str) -> list[str]:
    return [
        each.removeprefix("AccessPolicy default/p: ")
        for each in all_notes(state(document("p", said, target), *more))
        if each.startswith("AccessPolicy default/p: ")
    ]


@pytest.mark.parametrize(
    ("said", "target", "notes"),
    [
        ("default: deny", OTHER, []),
        ("action: allow, rules: [{from: [{service: web}], to: [{paths: [/a], ports: [80]}]}]", OTHER, []),
        (
            "action: allow, rules: [{from: [{service: web}]}, {to: [{methods: [GET]}]}]",
            TCP,
            [f"rules[1]: it never applies on {ECHO}: there are no requests there"],
        ),
        (
            "action: deny, rules: [{to: [{paths: [/a]}]}, {to: [{paths: [/a], ports: [80]}]}]",
            TCP,
            [
                (
                    f"rules[0]: it applies to every connection on {ECHO} that meets the rest of it: requests are not seen there. Name ports in it, to "
                    "leave those out"
                ),
                f"rules[1]: no effect: the ports that it names are none of {ECHO}",
            ],
        ),
        (
            "action: allow, rules: [{to: [{ports: [81, https]}]}]",
            OTHER,
            [
                "rules[0]: no effect: the ports that it names are none of port 80 (http) of service other/other"
            ],
        ),
        (
            "action: allow, rules: [{when: [{claim: groups.all}]}]",
            OTHER,
            [
                "no request has a claim at service other/other, not groups either: no RequestAuthentication verifies tokens there"
            ],
        ),
        (
            "action: audit, rules: [{}]",
            OTHER,
            ["calls are counted at service other/other, but written nowhere: no AccessLog concerns it"],
        ),
        (
            "action: deny, rules: [{from: [{service: wbe}, {notServices: [shop/cart]}]}]",
            OTHER,
            [
                "from: nobody yet: there is no service default/wbe",
                "from: nobody yet: there is no service shop/cart",
            ],
        ),
        (
            "default: deny",
            "kind: Service, name: gone",
            ["no effect at service default/gone: there is no such service (yet)"],
        ),
    ],
)
def test_what_is_in_vain(said: str, target: str, notes: list[str]) -> None:
    assert told(said, target) == notes


def test_a_workload_without_a_sidecar_enforces_nothing() -> None:
    bare = """
apiVersion: meshwright.dev/v1alpha1
kind: Workload
metadata: {name: web-1}
spec: {services: [web], address: 127.0.0.1, ports: [{name: http, app: 9001}]}
"""
    said = ["nothing is enforced at workload default/web-1: there is no sidecar"]
    assert told("default: deny", "kind: Service, name: web", bare) == said
    assert told("default: deny", "kind: Workload, name: web-1", bare) == said


def test_what_refuses_nothing_on_trial() -> None:
    said = "action: allow, dryRun: true, rules: [{from: [{service: web}]}]"
    assert told(said, OTHER) == []
    more = document("store", "action: allow, rules: [{}]", "kind: Mesh")
    assert told(said, OTHER, more) == [
        "on trial it refuses nothing at service other/other: there, only what is allowed is let in already, by AccessPolicy default/store"
    ]
    for harmless in ("action: deny, rules: [{}]", "default: deny, dryRun: true"):
        assert told(said, OTHER, document("store", harmless, "kind: Mesh")) == []


def news(before: MeshState, *documents: str) -> list[str]:
    parsed = parse("p.yaml", "---".join(documents).encode(), KINDS)
    assert not parsed.errors, parsed.errors
    new, changes = before.apply(SourceUpdate("file", declared=tuple(parsed.declared())))
    found = effect(before, new, changes, Weaver(), Renderer())
    return [f"{name[1].name}: {note}" for name, note in found.news]


def test_the_first_that_lets_in_only_some_is_news() -> None:
    allow = "action: allow, rules: [{from: [{service: web}]}]"
    said = "from now on service other/other lets in only what an AccessPolicy allows; all else is refused"
    assert news(state(), document("a", allow, OTHER)) == [f"a: {said}"]
    assert news(state(document("b", "default: deny", "kind: Mesh")), document("a", allow, OTHER)) == []
    for quiet in ("action: deny, rules: [{}]", f"dryRun: true, {allow}"):
        assert news(state(), document("a", quiet, OTHER)) == []
    assert news(state(document("a", f"dryRun: true, {allow}", OTHER)), document("a", allow, OTHER)) == [
        f"a: {said}"
    ]
