"""Which routes callers follow: those of the service's namespace or of their own, of which port, and what a wrong one does to others."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator

import pytest

from tests.support.traffic.applying import RefusedError
from tests.support.traffic.client import Answer
from tests.support.traffic.routes import grant, route, to
from tests.support.traffic.sidecars import Sidecar
from tests.support.traffic.world import Traffic


def marked(name: str, backend: str = to("api")) -> str:
    header = f"{{set: [{{name: x-route, value: {name}}}]}}"
    return f"filters: [{{type: ResponseHeaderModifier, responseHeaderModifier: {header}}}]\nbackendRefs: [{backend}]"


def mark(answer: Answer) -> str:
    """The route that was followed, or the status where that is not 200."""
    return answer.headers.get("x-route", "200") if answer.status == 200 else str(answer.status)


@contextlib.asynccontextmanager
async def a_caller(traffic: Traffic, namespace: str) -> AsyncIterator[tuple[Sidecar, int]]:
    """One more workload that may call everything; its sidecar, and the port for its calls."""
    port = traffic.port()
    document = f"""
apiVersion: meshwright.dev/v1alpha1
kind: Workload
metadata: {{name: caller, namespace: {namespace}}}
spec: {{serviceAccount: caller, address: 127.0.0.1, meshed: true, outboundPort: {port}}}
"""
    async with traffic.apply(document), traffic.proxy(f"{namespace}/caller", "caller") as proxy:
        yield proxy, port


async def test_producer_routes_are_for_all_and_consumer_routes_for_their_namespace(traffic: Traffic) -> None:
    producer = route(marked("producer"))
    of_other = "name: api, namespace: default"
    back = to("api", more="namespace: default")
    consumer = route(marked("consumer", back), name="c", namespace="other", parent=of_other)
    third = route(marked("third", back), name="t", namespace="third", parent=of_other)
    async with a_caller(traffic, "other") as (proxy, port):

        async def from_other() -> str:
            client = traffic.world.client
            return mark(await client.request("GET", "http://api.default.mesh/", via=proxy.member, port=port))

        async def from_default() -> str:
            return mark(await traffic.get("http://api.mesh/"))

        async with traffic.apply(producer) as file:
            assert (await from_default(), await from_other()) == ("producer", "producer")
            await file.replace(producer + consumer + third)
            assert (await from_default(), await from_other()) == ("producer", "consumer")
            await file.replace(consumer)
            assert (await from_default(), await from_other()) == ("200", "consumer")
            # Besides the service itself, a consumer's route needs what every route needs.
            elsewhere = route(
                marked("consumer", to("store", more="namespace: default")),
                name="c",
                namespace="other",
                parent=of_other,
            )
            await file.replace(elsewhere)
            assert await from_other() == "500"
            await file.replace(elsewhere + grant("default", of="other"))
            assert await from_other() == "consumer"
            await file.replace(producer)
            assert await from_other() == "producer"


PORTS = """
apiVersion: meshwright.dev/v1alpha1
kind: Service
metadata: {{name: ports}}
spec: {{ports: [{{name: first, port: 80, protocol: http}}, {{name: second, port: 8080, protocol: http}}]}}
---
apiVersion: meshwright.dev/v1alpha1
kind: Workload
metadata: {{name: ports-1}}
spec: {{services: [ports], address: 127.0.0.1, ports: [{{name: first, app: {0}}}, {{name: second, app: {1}}}]}}
"""


async def test_a_route_of_one_port(traffic: Traffic) -> None:
    ports = PORTS.format(traffic.member("api-1").app_ports["http"], traffic.member("api-2").app_ports["http"])

    async def asked() -> list[str]:
        return [mark(await traffic.get(f"http://ports.mesh:{port}/")) for port in (80, 8080)]

    async with traffic.apply(ports) as file:
        for parent, expected in [
            ("name: ports", ["here", "here"]),
            ("name: ports, port: 8080", ["200", "here"]),
            ("name: ports, sectionName: first", ["here", "200"]),
            ("name: ports, sectionName: first, port: 80", ["here", "200"]),
            ("name: ports, sectionName: first, port: 8080", ["200", "200"]),
            ("name: ports, port: 9999", ["200", "200"]),
        ]:
            await file.replace(ports + route(marked("here", to("ports")), parent=parent))
            assert await asked() == expected, parent


async def test_one_route_of_several_services(traffic: Traffic) -> None:
    document = route(marked("both")).replace(
        "name: api}]\n  rules", 'name: api}, {group: "", kind: Service, name: store}]\n  rules'
    )
    async with traffic.apply(document):
        assert [mark(await traffic.get(f"http://{name}.mesh/")) for name in ("api", "store", "web")] == [
            "both",
            "both",
            "200",
        ]


async def test_routes_are_followed_once(traffic: Traffic) -> None:
    """A backend is what serves, not what its own routes make of it (GEP-1294, Multiple routes for a Service)."""
    document = route(marked("api", to("store"))) + route(
        marked("store", to("api")), name="s", parent="name: store"
    )
    async with traffic.apply(document):
        answer = await traffic.get("http://api.mesh/")
    assert (mark(answer), answer.json["service"]) == ("api", "store")


async def test_a_document_that_is_refused_leaves_all_others_in_force(traffic: Traffic) -> None:
    async with traffic.apply(route(marked("good"))) as file:
        with pytest.raises(RefusedError, match="RE2"):
            await file.replace(
                route("matches: [{path: {type: RegularExpression, value: '/a(?=b)'}}]", name="bad")
                + route(marked("changed"))
            )
        assert mark(await traffic.get("http://api.mesh/")) == "good", "the file is taken whole or not at all"
        async with traffic.apply(route(marked("store"), name="s", parent="name: store")):
            assert mark(await traffic.get("http://store.mesh/")) == "store", "other files go on"
            assert mark(await traffic.get("http://api.mesh/")) == "good"


async def test_a_rule_that_leads_nowhere_takes_no_other_rule_along(traffic: Traffic) -> None:
    path = "matches: [{path: {type: PathPrefix, value: /x}}]"
    document = route(f"{path}\nbackendRefs: [{to('missing')}]", name="bad") + route(
        marked("good"), name="good"
    )
    async with traffic.apply(document):
        assert mark(await traffic.get("http://api.mesh/")) == "good"
        assert (await traffic.get("http://api.mesh/x")).status == 500
        assert (await traffic.get("http://store.mesh/x")).status == 200


async def test_without_the_route_everything_is_as_before_to_the_byte(traffic: Traffic) -> None:
    async def configuration() -> dict[str, str]:
        """What the sidecar has, less what every document of a test brings along."""
        found = {}
        for part in (await traffic.envoy("web").admin.config_dump())["configs"]:
            for each in part.get("dynamic_route_configs", ()):
                found[f"routes of {each['route_config']['name']}"] = [
                    each["version_info"],
                    each["route_config"],
                ]
            for each in part.get("dynamic_active_clusters", ()):
                found[f"cluster {each['cluster']['name']}"] = [each["version_info"], each["cluster"]]
            for of in part.get("dynamic_scoped_route_configs", ()):
                found |= {f"scope {each['name']}": each for each in of["scoped_route_configs"]}
        return {name: json.dumps(each) for name, each in found.items() if "zz-harness" not in name}

    before = await configuration()
    async with traffic.apply(route(marked("here")) + route(marked("s"), name="s", parent="name: store")):
        during = await configuration()
        changed = {name for name in before if before[name] != during.get(name)}
        assert changed == {"routes of default/api", "routes of default/store"}
    assert await configuration() == before
