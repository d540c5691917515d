"""What whoever writes is warned of, besides what `policies.effects` tells."""

from __future__ import annotations

from documents.parsing import parse
from mesh.events import SourceSnapshot, SourceUpdate
from mesh.state import MeshState
from meshwright.foresight import Foresight
from policies.registry import KINDS
from tests.support.builders import a_key, a_service
from tests.support.route_documents import http_route

STATE = MeshState("mesh.test").apply(SourceSnapshot("s", (a_service("api"), a_service("store"))))[0]
TO_STORE = http_route("rules: [{backendRefs: [{name: store, port: 80}]}]")


def event_of(route: str) -> SourceUpdate:
    parsed = parse("r.yaml", route.encode(), KINDS)
    assert not parsed.errors, parsed.errors
    return SourceUpdate("s", declared=tuple(parsed.declared()))


def warned(state: MeshState, event: SourceUpdate) -> list[tuple[str, str]]:
    foreseen = Foresight(lambda: state, lambda: dict)()(event)
    return [(each.document, each.warning.partition(": ")[2].partition(":")[0]) for each in foreseen.warnings]


def test_a_route_to_nothing_is_told_whenever_it_is_written() -> None:
    nowhere = event_of(http_route("rules: [{backendRefs: [{name: nope, port: 80}]}]"))
    told = [("HTTPRoute default/api", "BackendNotFound")]
    assert warned(STATE, nowhere) == told
    again = event_of(http_route("rules: [{backendRefs: [{name: nope, port: 80, weight: 2}]}]"))
    assert warned(STATE.apply(nowhere)[0], again) == told
    assert warned(STATE, event_of(TO_STORE)) == []


def test_what_takes_away_what_a_route_leads_to_is_told_and_what_was_so_before_is_not() -> None:
    state = STATE.apply(event_of(TO_STORE))[0]
    gone = SourceUpdate("s", removed_services=(a_key("store"),))
    assert warned(state, gone) == [("HTTPRoute default/api", "BackendNotFound")]
    assert warned(state.apply(gone)[0], SourceUpdate("s", services=(a_service("other"),))) == []


def test_a_policy_for_callers_that_nobody_is_is_told() -> None:
    written = event_of(
        "apiVersion: meshwright.dev/v1alpha1\nkind: AccessPolicy\nmetadata: {name: a}\n"
        "spec: {targetRefs: [{kind: Service, name: api}], action: deny, rules: [{from: [{namespace: shopp}, {service: store}]}]}\n"
    )
    told = [("AccessPolicy default/a", "nothing is in the namespace shopp (yet)")]
    assert warned(STATE, written) == told
