"""The shared mesh itself: that it does what the tests of this folder rely on."""

from __future__ import annotations

import pytest

from tests.support.traffic.applying import RefusedError
from tests.support.traffic.client import shares, statuses
from tests.support.traffic.world import Traffic


async def test_a_request_passes_and_tells_who_answered_and_who_asked(traffic: Traffic) -> None:
    answer = await traffic.get("http://api.mesh/some/path?q=1", headers={"x-mine": "yes"})
    assert answer.status == 200, answer
    assert answer.json["workload"] == answer.workload
    assert answer.json["path"] == "/some/path?q=1"
    assert answer.seen["x-mine"] == "yes"
    assert answer.json["caller"] == traffic.member("web").identity
    (seen,) = traffic.seen("api")
    assert (seen.workload, seen.path, seen.caller) == (
        answer.workload,
        "/some/path?q=1",
        answer.json["caller"],
    )


async def test_two_callers_are_told_apart(traffic: Traffic) -> None:
    answer = await traffic.get("http://other.other.mesh/", caller="probe")
    assert answer.json["caller"].endswith("/sa/probe")
    assert answer.json["namespace"] == "other"


async def test_all_workloads_take_their_share(traffic: Traffic) -> None:
    answers = await traffic.many(80, "http://api.mesh/")
    assert statuses(answers) == {200: 80}
    assert set(shares(answers)) == {"api-1", "api-2", "api-3", "api-4"}
    assert set(shares(answers, "version")) == {"v1", "v2"}
    assert sum(len(traffic.servers[name].requests) for name in shares(answers)) == 80


@pytest.mark.parametrize(("behave", "status"), [("status=503", 503), ("delay=200ms", 200), ("reset", 503)])
async def test_servers_behave_as_they_are_asked_to(traffic: Traffic, behave: str, status: int) -> None:
    answer = await traffic.get("http://store.mesh/", headers={"x-behave": behave})
    assert answer.status == status, answer
    assert answer.seconds >= (0.2 if "delay" in behave else 0.0)


async def test_a_second_document_is_in_force_within_its_block_only(traffic: Traffic) -> None:
    api = traffic.member("api-1")
    document = f"""
apiVersion: meshwright.dev/v1alpha1
kind: Service
metadata: {{name: second}}
spec: {{ports: [{{name: http, port: 80, protocol: http}}]}}
---
apiVersion: meshwright.dev/v1alpha1
kind: Workload
metadata: {{name: second-1}}
spec: {{services: [second], address: 127.0.0.1, ports: [{{name: http, app: {api.app_ports["http"]}}}]}}
"""
    assert (await traffic.get("http://second.mesh/")).status == 404
    async with traffic.apply(document):
        assert (await traffic.get("http://second.mesh/")).workload == "api-1"
    assert (await traffic.get("http://second.mesh/")).status == 404


async def test_what_is_refused_raises_with_the_message(traffic: Traffic) -> None:
    document = """
apiVersion: meshwright.dev/v1alpha1
kind: Service
metadata: {name: wrong}
spec: {ports: [{name: http, port: 70000, protocol: http}]}
"""
    with pytest.raises(RefusedError, match="70000"):
        async with traffic.apply(document):
            pytest.fail("it was taken")
    assert not (await traffic.mesh.status()).sources[0].errors
