"""ExternalService: what is outside the mesh, called by its own names, seen by the client and by the server outside.

Names under `localhost` are resolved without any server, to loopback (RFC 6761, 6.3): a real name, resolved by the sidecar itself.
"""

from __future__ import annotations

from pathlib import Path

import aiohttp

from tests.support.outside_ca import OutsideAuthority
from tests.support.traffic.draining import drained
from tests.support.traffic.world import Traffic


def external(spec: str, name: str = "payments") -> str:
    return f"""
apiVersion: meshwright.dev/v1alpha1
kind: ExternalService
metadata: {{name: {name}}}
spec:
  {spec}
"""


def plain(port: int, hosts: str = "[pay.localhost]") -> str:
    return external(
        f"hosts: {hosts}\n  ports: [{{name: http, port: 80, targetPort: {port}, protocol: http}}]"
    )


async def fresh(traffic: Traffic, url: str) -> tuple[int, str]:
    """Status and text, on a new connection: the first wildcard changes a filter chain, and open connections keep theirs while they drain."""
    host, _, path = url.removeprefix("http://").partition("/")
    port = traffic.member("web").outbound_port
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/{path}", headers={"host": host}) as answer,
    ):
        return answer.status, await answer.text()


async def failed(traffic: Traffic, why: str) -> int:
    """Handshakes with `payments` that failed, by Envoy's statistics."""
    stats = await traffic.envoy("web").admin.stats(rf"payments.80\.ssl\.{why}")
    return sum(stats.values())


async def test_a_host_outside_is_resolved_and_called_by_its_own_name(traffic: Traffic) -> None:
    assert (await traffic.get("http://pay.localhost/")).status == 404
    async with traffic.outside() as server:
        port = server.member.app_ports["http"]
        async with traffic.apply(plain(port)):
            assert (await traffic.get("http://pay.localhost/bill")).status == 200
            assert (await traffic.get("http://pay.localhost:80/bill")).status == 200
            assert (await traffic.get("http://pay.localhost:81/bill")).status == 404
            assert (await traffic.get("http://payments.mesh/bill")).status == 404
            assert {each.headers["host"] for each in server.requests} == {"pay.localhost", "pay.localhost:80"}
    assert (await traffic.get("http://pay.localhost/")).status == 404


async def test_the_sidecar_speaks_tls_for_the_application(traffic: Traffic, tmp_path: Path) -> None:
    authority = OutsideAuthority(tmp_path)
    async with traffic.outside(tls=authority.server("pay.localhost")) as server:
        port = server.member.app_ports["http"]
        tls = f"\n  tls: {{caFile: {authority.ca_file}}}"
        async with traffic.apply(plain(port) + tls) as file:
            assert (await traffic.get("http://pay.localhost/bill")).status == 200
            assert server.requests[-1].headers["host"] == "pay.localhost"
            other = f"\n  tls: {{caFile: {authority.ca_file}, subjectAltNames: [bank.localhost]}}"
            await file.replace(plain(port) + other)
            refused = await traffic.get("http://pay.localhost/bill")
            assert refused.status == 503
            assert await failed(traffic, "fail_verify_san") >= 1
            served = len(server.requests)
            await file.replace(
                plain(port) + "\n  tls: {mode: simple}"
            )  # the system does not know this authority
            assert (await traffic.get("http://pay.localhost/bill")).status == 503
            assert await failed(traffic, "fail_verify_error") >= 1
            assert len(server.requests) == served


async def test_the_sidecar_shows_a_certificate(traffic: Traffic, tmp_path: Path) -> None:
    authority = OutsideAuthority(tmp_path)
    chain, key = authority.certify("web.example.com")
    async with traffic.outside(tls=authority.server("pay.localhost", clients=True)) as server:
        port = server.member.app_ports["http"]
        simple = f"\n  tls: {{caFile: {authority.ca_file}}}"
        mutual = f"\n  tls: {{mode: mutual, caFile: {authority.ca_file}, certificateFile: {chain}, privateKeyFile: {key}}}"
        async with traffic.apply(plain(port) + simple) as file:
            assert (await traffic.get("http://pay.localhost/")).status == 503
            await file.replace(plain(port) + mutual)
            assert (await traffic.get("http://pay.localhost/")).status == 200


async def test_a_name_behind_a_wildcard_is_resolved_by_itself(traffic: Traffic) -> None:
    async with traffic.outside() as server:
        port = server.member.app_ports["http"]
        ports = f"ports: [{{name: http, port: {port}, protocol: http}}]"
        wild = external(f'hosts: ["*.shop.localhost"]\n  {ports}', "shops")
        async with traffic.apply(wild):
            assert (await fresh(traffic, f"http://a.shop.localhost:{port}/x"))[0] == 200
            assert (await fresh(traffic, f"http://b.c.shop.localhost:{port}/x"))[0] == 200
            assert {each.headers["host"] for each in server.requests} == {
                f"a.shop.localhost:{port}",
                f"b.c.shop.localhost:{port}",
            }
            status, text = await fresh(traffic, f"http://shop.localhost:{port}/x")
            assert status == 404
            assert "no route" in text
            assert (await fresh(traffic, "http://a.shop.localhost:9/x"))[0] == 404
            assert (await fresh(traffic, "http://api.mesh/"))[0] == 200


ALLOW = """
apiVersion: meshwright.dev/v1alpha1
kind: EgressPolicy
metadata: {name: unknown}
spec:
  targetRefs: [{kind: Workload, name: web-1}]
  unknown: allow
"""


async def test_unknown_hosts_are_looked_for_outside_but_never_on_the_host_itself(traffic: Traffic) -> None:
    async with traffic.outside() as server:
        port = server.member.app_ports["http"]
        async with traffic.apply(ALLOW) as file:
            assert (await fresh(traffic, f"http://anything.localhost:{port}/"))[0] == 403
            assert (await fresh(traffic, f"http://127.0.0.1:{port}/"))[0] == 403
            assert not server.requests
            assert (await fresh(traffic, "http://nowhere.invalid/"))[0] == 503
            assert (await fresh(traffic, "http://nowhere.mesh/"))[0] == 404
            assert (await fresh(traffic, "http://nowhere/"))[0] == 404
            assert (await fresh(traffic, "http://api.mesh/"))[0] == 200
            await file.replace(f"{ALLOW}  never: []")
            assert (await fresh(traffic, f"http://anything.localhost:{port}/"))[0] == 200
            assert server.requests[-1].headers["host"] == f"anything.localhost:{port}"
            await file.replace(ALLOW.replace("allow", "registryOnly"))
            assert (await fresh(traffic, f"http://anything.localhost:{port}/"))[0] == 404


async def test_a_route_sends_a_share_outside_under_the_name_that_is_known_there(traffic: Traffic) -> None:
    route = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: api}
spec:
  parentRefs: [{group: "", kind: Service, name: api}]
  rules:
  - matches: [{path: {value: /pay}}]
    backendRefs: [{group: meshwright.dev, kind: ExternalService, name: payments, port: 80}]
  - matches: [{path: {value: /some}}]
    backendRefs:
    - {group: meshwright.dev, kind: ExternalService, name: payments, port: 80}
    - {name: api, port: 80}
  - backendRefs: [{name: api, port: 80}]
"""
    async with traffic.outside() as server, traffic.apply(plain(server.member.app_ports["http"]) + route):
        assert (await traffic.get("http://api.mesh/pay")).status == 200
        assert server.requests[-1].headers["host"] == "pay.localhost"
        assert (await traffic.get("http://api.mesh/")).status == 200
        count = len(server.requests)
        answers = await traffic.many(40, "http://api.mesh/some")
        assert {each.status for each in answers} == {200}
        outside = server.requests[count:]
        assert 0 < len(outside) < 40
        assert {each.headers["host"] for each in outside} == {"pay.localhost"}
        assert {each.headers["host"] for each in traffic.seen("api")} == {"api.mesh"}


async def test_policies_hold_for_what_is_outside(traffic: Traffic) -> None:
    policy = """
---
apiVersion: meshwright.dev/v1alpha1
kind: TimeoutPolicy
metadata: {name: t}
spec: {targetRefs: [{kind: Service, name: payments}], request: 800ms}
"""
    # Policies of earlier tests changed filters: a connection that the client kept would be closed under it.
    await drained(traffic)
    async with traffic.outside() as server, traffic.apply(plain(server.member.app_ports["http"]) + policy):
        slow = await traffic.get("http://pay.localhost/", headers={"x-behave": "delay=2s"})
        assert slow.status == 504
        assert (await traffic.get("http://pay.localhost/")).status == 200


SECRET = """
---
apiVersion: meshwright.dev/v1alpha1
kind: Secret
metadata: {{name: outside}}
spec: {{authoritiesFile: {file}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {{name: payments}}
spec:
  targetRefs: [{{group: meshwright.dev, kind: ExternalService, name: payments}}]
  validation:
    hostname: {hostname}
    caCertificateRefs: [{{group: "", kind: Secret, name: outside}}]
"""


async def test_a_backend_tls_policy_says_what_is_spoken_and_whom_to_trust(
    traffic: Traffic, tmp_path: Path
) -> None:
    authority = OutsideAuthority(tmp_path)
    async with traffic.outside(tls=authority.server("bank.localhost")) as server:
        port = server.member.app_ports["http"]
        right = plain(port) + SECRET.format(file=authority.ca_file, hostname="bank.localhost")
        async with traffic.apply(right) as file:
            assert (await traffic.get("http://pay.localhost/")).status == 200
            await file.replace(plain(port) + SECRET.format(file=authority.ca_file, hostname="pay.localhost"))
            assert (await traffic.get("http://pay.localhost/")).status == 503
            other = OutsideAuthority(tmp_path, "other")
            await file.replace(plain(port) + SECRET.format(file=other.ca_file, hostname="bank.localhost"))
            assert (await traffic.get("http://pay.localhost/")).status == 503
            await file.replace(right)
            assert (await traffic.get("http://pay.localhost/")).status == 200


async def test_behind_a_wildcard_each_name_must_be_in_the_certificate(
    traffic: Traffic, tmp_path: Path
) -> None:
    authority = OutsideAuthority(tmp_path)
    async with traffic.outside(tls=authority.server("a.shop.localhost")) as server:
        port = server.member.app_ports["http"]
        ports = f"ports: [{{name: http, port: {port}, protocol: http}}]"
        tls = f"tls: {{caFile: {authority.ca_file}}}"
        async with traffic.apply(external(f'hosts: ["*.shop.localhost"]\n  {ports}\n  {tls}', "shops")):
            assert (await fresh(traffic, f"http://a.shop.localhost:{port}/x"))[0] == 200
            assert (await fresh(traffic, f"http://b.shop.localhost:{port}/x"))[0] == 503
            assert len(server.requests) == 1


async def test_tls_to_endpoints_of_a_service_that_have_no_sidecar(traffic: Traffic, tmp_path: Path) -> None:
    authority = OutsideAuthority(tmp_path)
    async with traffic.outside(tls=authority.server("legacy.example.com")) as server:
        documents = f"""
apiVersion: meshwright.dev/v1alpha1
kind: Service
metadata: {{name: legacy}}
spec: {{ports: [{{name: http, port: 80, protocol: http}}]}}
---
apiVersion: meshwright.dev/v1alpha1
kind: Workload
metadata: {{name: legacy-1}}
spec: {{services: [legacy], address: 127.0.0.1, ports: [{{name: http, app: {server.member.app_ports["http"]}}}]}}
"""
        policy = SECRET.format(file=authority.ca_file, hostname="legacy.example.com")
        policy = policy.replace(
            "{group: meshwright.dev, kind: ExternalService, name: payments}", "{name: legacy}"
        )
        async with traffic.apply(documents) as file:
            assert (await traffic.get("http://legacy.mesh/")).status in {400, 502, 503}  # it speaks TLS only
            assert not server.requests
            await file.replace(documents + policy)
            assert (await traffic.get("http://legacy.mesh/")).status == 200
            assert server.requests[-1].headers["host"] == "legacy.mesh"


async def test_local_ports_lead_outside(traffic: Traffic) -> None:
    web, raw = traffic.port(), traffic.port()
    async with traffic.outside() as server:
        port = server.member.app_ports["http"]
        documents = f"""
apiVersion: meshwright.dev/v1alpha1
kind: ExternalService
metadata: {{name: payments}}
spec:
  hosts: [pay.localhost]
  ports:
  - {{name: http, port: 80, targetPort: {port}, protocol: http}}
  - {{name: raw, port: 5000, targetPort: {port}}}
---
apiVersion: meshwright.dev/v1alpha1
kind: Workload
metadata: {{name: batch-1}}
spec:
  address: 127.0.0.1
  serviceAccount: batch
  meshed: true
  outboundPort: {traffic.port()}
  uses:
  - {{service: payments, port: http, localPort: {web}}}
  - {{service: payments, port: raw, localPort: {raw}}}
"""
        async with (
            traffic.apply(documents),
            traffic.proxy("batch-1", "batch"),
            aiohttp.ClientSession() as session,
        ):
            for local, host in ((web, "pay.localhost"), (raw, f"127.0.0.1:{raw}")):
                async with session.get(f"http://127.0.0.1:{local}/x") as answer:
                    assert answer.status == 200
                assert server.requests[-1].headers["host"] == host


async def test_a_host_moves_from_one_service_to_another(traffic: Traffic) -> None:
    async with traffic.outside() as server, traffic.outside("other") as other:
        first = plain(server.member.app_ports["http"])
        earlier = plain(other.member.app_ports["http"]).replace("name: payments", "name: aaa")
        async with traffic.apply(first) as file:
            assert (await traffic.get("http://pay.localhost/")).status == 200
            assert len(server.requests) == 1
            await file.replace(f"{first}\n---{earlier}")
            assert (await traffic.get("http://pay.localhost/")).status == 200
            assert len(other.requests) == 1
            assert any("pay.localhost" in each for each in (await traffic.world.mesh.status()).conflicts)
            await file.replace(first)
            assert (await traffic.get("http://pay.localhost/")).status == 200
            assert (len(server.requests), len(other.requests)) == (2, 1)
