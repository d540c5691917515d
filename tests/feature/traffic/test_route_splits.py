"""HTTPRoute: shares of backends, between services and between subsets of one, and of backends that are not there."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.support.traffic.client import Answer, shares, statuses
from tests.support.traffic.routes import grant, route, subset, to
from tests.support.traffic.statistics import within
from tests.support.traffic.world import Traffic

N = 400


def backends(*each: str, name: str = "r") -> str:
    return route(f"backendRefs: [{', '.join(each)}]", name=name)


def services(answers: list[Answer]) -> Counter[str]:
    """How often each service answered; the status where none did."""
    return Counter(each.workload.rpartition("-")[0] or str(each.status) for each in answers)


async def test_between_services(traffic: Traffic) -> None:
    async with traffic.apply(backends(to("api", 70), to("store", 25), to("web", 5), to("probe", 0))):
        found = services(await traffic.many(N, "http://api.mesh/"))
    assert set(found) == {"api", "store", "web"}
    for name, share in (("api", 0.7), ("store", 0.25), ("web", 0.05)):
        assert within(share, N, found[name]), found
    assert len(traffic.seen("store")) == found["store"]


async def test_between_subsets_of_one_service(traffic: Traffic) -> None:
    both = subset("v1") + subset("v2")
    async with traffic.apply(both + backends(to("api-v1", 9), to("api-v2", 1))) as file:
        found = shares(await traffic.many(N, "http://api.mesh/"), "version")
        assert within(0.1, N, found["v2"]), found
        assert found["v1"] + found["v2"] == N
        await file.replace(both + backends(to("api-v2")))
        assert set(shares(await traffic.many(40, "http://api.mesh/"))) == {"api-3", "api-4"}


async def test_a_subset_without_endpoints_is_503_and_is_told_from_one_that_is_not_declared(
    traffic: Traffic,
) -> None:
    empty = subset("v2").replace("version: v2", "version: v9")
    async with traffic.apply(backends(to("api-v2"))) as file:
        assert (await traffic.get("http://api.mesh/")).status == 500
        await file.replace(empty + backends(to("api-v2")))
        assert (await traffic.get("http://api.mesh/")).status == 503
        await file.replace(subset("v2") + backends(to("api-v2")))
        assert (await traffic.get("http://api.mesh/")).workload in {"api-3", "api-4"}


async def test_rules_of_a_path_for_one_version(traffic: Traffic) -> None:
    """What the language's own example says."""
    document = subset("v2") + route(
        f"{{matches: [{{path: {{type: PathPrefix, value: /beta}}}}], backendRefs: [{to('api-v2')}]}}",
        f"backendRefs: [{to('api')}]",
    )
    async with traffic.apply(document):
        assert set(shares(await traffic.many(20, "http://api.mesh/beta/x"), "version")) == {"v2"}
        assert set(shares(await traffic.many(40, "http://api.mesh/"), "version")) == {"v1", "v2"}


async def test_a_backend_that_is_not_there_answers_its_share_with_500(traffic: Traffic) -> None:
    async with traffic.apply(backends(to("api", 3), to("missing", 1))):
        answers = await traffic.many(N, "http://api.mesh/")
    assert set(statuses(answers)) == {200, 500}
    assert within(0.25, N, statuses(answers)[500]), statuses(answers)
    assert len(traffic.seen("api")) == statuses(answers)[200]


@pytest.mark.parametrize(
    "backend",
    [
        to("missing"),
        to("api").replace("port: 80", "port: 81"),
        to("api", 0),
        to("tcp").replace("port: 80", "port: 7000"),
    ],
    ids=["service", "port", "weight", "protocol"],
)
async def test_without_any_backend_it_is_500(traffic: Traffic, backend: str) -> None:
    async with traffic.apply(backends(backend)):
        assert statuses(await traffic.many(10, "http://api.mesh/")) == {500: 10}
        assert statuses(await traffic.many(10, "http://store.mesh/")) == {200: 10}
    assert not traffic.seen("api")


async def test_a_backend_that_comes_later_takes_its_share_then(traffic: Traffic) -> None:
    api = traffic.member("api-1").app_ports["http"]
    late = f"""
---
apiVersion: meshwright.dev/v1alpha1
kind: Service
metadata: {{name: late}}
spec: {{ports: [{{name: http, port: 80, protocol: http}}]}}
---
apiVersion: meshwright.dev/v1alpha1
kind: Workload
metadata: {{name: late-1}}
spec: {{services: [late], address: 127.0.0.1, ports: [{{name: http, app: {api}}}]}}
"""
    async with traffic.apply(backends(to("late"))):
        assert (await traffic.get("http://store.mesh/")).status == 200
        assert (await traffic.get("http://api.mesh/")).status == 500
        async with traffic.apply(late):
            assert (await traffic.get("http://api.mesh/")).workload == "api-1"
        assert (await traffic.get("http://api.mesh/")).status == 500


async def test_another_namespace_has_to_grant_it(traffic: Traffic) -> None:
    document = backends(to("other", more="namespace: other"))
    async with traffic.apply(document) as file:
        refused = await traffic.get("http://api.mesh/")
        assert (refused.status, traffic.seen("other")) == (500, [])
        await file.replace(document + grant("other"))
        answer = await traffic.get("http://api.mesh/")
        assert (answer.status, answer.workload) == (200, "other-1")
        await file.replace(document + grant("other", of="elsewhere"))
        assert (await traffic.get("http://api.mesh/")).status == 500
        await file.replace(document + grant("other", kind="GRPCRoute"))
        assert (await traffic.get("http://api.mesh/")).status == 500
    assert len(traffic.seen("other")) == 1


async def test_a_caller_reaches_what_the_routes_of_its_callee_lead_to(traffic: Traffic) -> None:
    """`api` says that it uses `store` alone; a route of `store` may still lead it to `probe`."""
    document = backends(to("probe")).replace("name: api}", "name: store}")
    async with traffic.apply(document):
        answer = await traffic.get("http://api.mesh/", headers={"x-behave": "call=store"})
    assert answer.json["called"]["workload"] == "probe-1"
