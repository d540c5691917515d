"""Patches on real Envoys: of routes as callers have them, and of what a sidecar listens on."""

from __future__ import annotations

import json

from tests.support.processes import eventually
from tests.support.traffic.world import Traffic


def patch(name: str, target: str, resource: str, of: str, merge: object, more: str = "") -> str:
    return (
        f"apiVersion: meshwright.dev/v1alpha1\nkind: EnvoyPatch\nmetadata: {{name: {name}}}\n"
        f"spec: {{targetRefs: [{target}], {more}resource: {resource}, name: '{of}', merge: {json.dumps(merge)}}}\n"
    )


API = "{kind: Service, name: api}"
HEADER = {"responseHeadersToAdd": [{"header": {"key": "x-patched", "value": "yes"}}]}


async def test_routes_are_patched_for_the_callers_that_are_meant(traffic: Traffic) -> None:
    async with traffic.apply(patch("routes", API, "RouteConfiguration", "default/api", HEADER)):
        assert (await traffic.get("http://api.mesh/")).headers["x-patched"] == "yes"
        assert "x-patched" not in (await traffic.get("http://store.mesh/")).headers
    of_others = patch(
        "routes", API, "RouteConfiguration", "default/api", HEADER, more="from: [{service: store}], "
    )
    async with traffic.apply(of_others):
        assert "x-patched" not in (await traffic.get("http://api.mesh/")).headers


async def test_a_message_within_a_listener_of_one_workload_is_patched(traffic: Traffic) -> None:
    port = traffic.member("api-1").sidecar_ports["http"]
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "via": "patched",
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typedConfig": manager}]
    chain = {"name": "default/api:80", "filters": filters}
    target = "{kind: Workload, name: api-1}"
    async with traffic.apply(
        patch("listener", target, "Listener", f"inbound/{port}", {"filterChains": [chain]})
    ):

        async def patched() -> bool:
            """Connections of before the change go on as they were until they are drained."""
            answers = await traffic.many(20, "http://api.mesh/")
            via: dict[str, set[str]] = {}
            for each in answers:
                via.setdefault(json.loads(each.body)["workload"], set()).add(each.headers.get("via", ""))
            assert {each for name, said in via.items() if name != "api-1" for each in said} == {""}
            return via.get("api-1") == {"patched"}

        await eventually(patched, "answers of api-1 are patched")
