"""TLS from a gateway to backends that are not of the mesh: BackendTLSPolicy, and the certificate that the gateway shows."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from envoy.tls import SYSTEM_ROOTS
from tests.support import binaries
from tests.support.namespaces import is_root
from tests.support.outside_ca import OutsideAuthority
from tests.support.traffic.edge import Outside, PublicAuthority, documents, gateway
from tests.support.traffic.servers import HttpServer
from tests.support.traffic.world import Traffic, World

SYSTEM = Path(SYSTEM_ROOTS)
SHOWN = "tls: {backend: {clientCertificateRef: {name: shown}}}"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def authority(tmp_path_factory: pytest.TempPathFactory) -> OutsideAuthority:
    return OutsideAuthority(tmp_path_factory.mktemp("outside"))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def outside(world: World, authority: OutsideAuthority) -> AsyncIterator[Outside]:
    """A gateway that shows a certificate to backends."""
    ports = {name: world.ports.take() for name in ("http", "ended")}
    listeners = f"""
  - {{name: http, port: {ports["http"]}, protocol: HTTP}}
  - {{name: ended, port: {ports["ended"]}, protocol: TLS, tls: {{certificateRefs: [{{name: shown}}]}}}}
"""
    chain, key = authority.certify("gateway.example.com")
    key.chmod(0o600)
    text = (
        documents("front", listeners, more=SHOWN)
        + f"""
---
apiVersion: meshwright.dev/v1alpha1
kind: Secret
metadata: {{name: shown}}
spec: {{certificateFile: {chain}, keyFile: {key}}}
---
apiVersion: meshwright.dev/v1alpha1
kind: Secret
metadata: {{name: bank}}
spec: {{authoritiesFile: {authority.ca_file}}}
"""
    )
    async with gateway(world, "front", text, ports, PublicAuthority()) as made:
        yield made


def backend(server: HttpServer, protocol: str = "http") -> str:
    """The service `bank`, of one workload without a sidecar, and a route of the gateway to it."""
    port = server.member.app_ports["http"]
    return f"""
---
apiVersion: meshwright.dev/v1alpha1
kind: Service
metadata: {{name: bank}}
spec: {{ports: [{{name: web, port: 80, protocol: {protocol}}}, {{name: plain, port: 81, protocol: {protocol}}}]}}
---
apiVersion: meshwright.dev/v1alpha1
kind: Workload
metadata: {{name: bank-1}}
spec: {{services: [bank], address: 127.0.0.1, ports: [{{name: web, app: {port}}}, {{name: plain, app: {port}}}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: bank}}
spec:
  parentRefs: [{{name: front}}]
  rules:
  - {{matches: [{{path: {{value: /plain}}}}], backendRefs: [{{name: bank, port: 81}}]}}
  - {{backendRefs: [{{name: bank, port: 80}}]}}
"""


def policy(
    validation: str,
    name: str = "bank",
    target: str = "name: bank, sectionName: web",
    created: str = "2020-01-01T00:00:00Z",
) -> str:
    return f"""
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {{name: {name}, creationTimestamp: {created}}}
spec: {{targetRefs: [{{{target}}}], validation: {{{validation}}}}}
"""


def trusted(kind: str = "ConfigMap", name: str = "bank", more: str = "") -> str:
    return f'caCertificateRefs: [{{group: "", kind: {kind}, name: {name}}}{more}]'


async def status(outside: Outside, path: str = "/") -> int:
    return (await outside.get(f"http://bank.example.com{path}")).status


async def test_a_policy_says_which_name_a_backend_must_have(
    traffic: Traffic, outside: Outside, authority: OutsideAuthority
) -> None:
    async with traffic.outside(tls=authority.server("bank.example.com")) as server:
        cases = (
            (f"hostname: bank.example.com, {trusted()}", 200),
            (f"hostname: bank.example.com, {trusted('Secret')}", 200),
            (f"hostname: other.example.com, {trusted()}", 503),
            (f"hostname: bank.example.com, {trusted(name='nowhere')}", 503),
            # An authority that is not there takes nothing from the one that is.
            (
                f"hostname: bank.example.com, {trusted(more=', {group: meshwright.dev, kind: Secret, name: nowhere}')}",
                200,
            ),
            # The system does not know this authority.
            ("hostname: bank.example.com, wellKnownCACertificates: System", 503),
        )
        async with traffic.apply(backend(server) + policy(cases[0][0])) as file:
            for validation, expected in cases:
                await file.replace(backend(server) + policy(validation))
                assert await status(outside) == expected, validation
            await file.replace(backend(server))
            assert await status(outside) != 200  # it takes TLS only


@pytest.mark.skipif(
    not (is_root() and SYSTEM.is_file()), reason=f"needs root, and {SYSTEM} to put another in its place"
)
async def test_a_policy_may_trust_whom_the_host_of_the_proxy_trusts(
    traffic: Traffic, outside: Outside, authority: OutsideAuthority, tmp_path: Path
) -> None:
    """For this one proxy the authority is among those of the system: it sees another file where its host keeps them."""
    envoy, port = tmp_path / "envoy", traffic.port()
    in_place = f"mount --bind {authority.ca_file} {SYSTEM} && exec {binaries.envoy()}"
    envoy.write_text(f"""#!/bin/sh\nexec unshare --mount sh -c '{in_place} "$@"' sh "$@"\n""")
    envoy.chmod(0o755)
    own = documents("trusting", f"  - {{name: http, port: {port}, protocol: HTTP}}")
    async with traffic.outside(tls=authority.server("bank.example.com")) as server:
        text = backend(server) + policy("hostname: bank.example.com, wellKnownCACertificates: System")
        both = text.replace("parentRefs: [{name: front}]", "parentRefs: [{name: front}, {name: trusting}]")
        async with traffic.apply(own + both), traffic.proxy("trusting-1", "trusting", envoy):
            trusting = Outside(traffic.world, outside.proxy, outside.file, own, {"http": port})
            assert (await status(outside), await status(trusting)) == (503, 200)


async def test_subject_alternative_names_take_the_place_of_the_hostname(
    traffic: Traffic, outside: Outside, authority: OutsideAuthority
) -> None:
    uri = "spiffe://bank.example.com/teller"
    async with traffic.outside(tls=authority.server("bank.example.com", uris=(uri,))) as server:

        def named(*names: str) -> str:
            said = f"subjectAltNames: [{', '.join(f'{{{each}}}' for each in names)}]"
            return backend(server) + policy(f"hostname: sni.example.com, {trusted()}, {said}")

        cases = (
            (("type: Hostname, hostname: bank.example.com",), 200),
            (("type: Hostname, hostname: '*.example.com'",), 200),
            (("type: Hostname, hostname: sni.example.com",), 503),
            ((f"type: URI, uri: '{uri}'",), 200),
            (("type: URI, uri: 'spiffe://bank.example.com/boss'",), 503),
            (("type: Hostname, hostname: no.example.com", f"type: URI, uri: '{uri}'"), 200),
        )
        async with traffic.apply(named(*cases[0][0])) as file:
            for names, expected in cases:
                await file.replace(named(*names))
                assert await status(outside) == expected, names


async def test_a_policy_for_one_port_and_the_older_of_two(
    traffic: Traffic, outside: Outside, authority: OutsideAuthority
) -> None:
    right, wrong = (f"hostname: {each}.example.com, {trusted()}" for each in ("bank", "other"))
    async with traffic.outside(tls=authority.server("bank.example.com")) as server:
        whole = policy(wrong, "a-whole", "name: bank", "2010-01-01T00:00:00Z")
        younger = policy(wrong, "a-younger", created="2030-01-01T00:00:00Z")
        async with traffic.apply(backend(server) + whole + policy(right) + younger):
            assert await status(outside) == 200
            assert await status(outside, "/plain") == 503
            found = (await traffic.mesh.status()).backend_tls
            told = {each.policy: each.conditions for each in found}
            reasons = {name: [each.reason for each in of] for name, of in told.items()}
            assert reasons == {
                "default/a-whole": ["Accepted", "ResolvedRefs"],
                "default/bank": ["Accepted", "ResolvedRefs"],
                "default/a-younger": ["Conflicted", "ResolvedRefs"],
            }


async def test_the_gateway_shows_its_certificate(
    traffic: Traffic, outside: Outside, authority: OutsideAuthority
) -> None:
    async with traffic.outside(tls=authority.server("bank.example.com", clients=True)) as server:
        text = backend(server) + policy(f"hostname: bank.example.com, {trusted()}")
        async with traffic.apply(text):
            assert await status(outside) == 200
            assert (await traffic.get("http://bank.mesh/")).status == 503, (
                "it is no certificate of the mesh's"
            )
            await outside.file.replace(outside.text.replace(SHOWN, ""))
            try:
                assert await status(outside) == 503
                await outside.file.replace(outside.text.replace("{name: shown}}}", "{name: nowhere}}}"))
                assert await status(outside) == 503
                gateways = (await traffic.mesh.status()).gateways
                (front,) = (each for each in gateways if each.gateway == "default/front")
                (told,) = (each for each in front.conditions if each.type == "ResolvedRefs" and not each.at)
                assert (told.status, told.reason) == (False, "InvalidClientCertificateRef")
                assert "Secret default/nowhere" in told.message
            finally:
                await outside.file.replace(outside.text)
            assert await status(outside) == 200


async def test_it_shows_it_to_services_outside_the_mesh_too(
    traffic: Traffic, outside: Outside, authority: OutsideAuthority
) -> None:
    async with traffic.outside(tls=authority.server("pay.localhost", clients=True)) as server:
        text = f"""
apiVersion: meshwright.dev/v1alpha1
kind: ExternalService
metadata: {{name: pay}}
spec:
  hosts: [pay.localhost]
  ports: [{{name: http, port: 80, targetPort: {server.member.app_ports["http"]}, protocol: http}}]
  tls: {{caFile: {authority.ca_file}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: pay}}
spec:
  parentRefs: [{{name: front}}]
  rules: [{{backendRefs: [{{group: meshwright.dev, kind: ExternalService, name: pay, port: 80}}]}}]
"""
        async with traffic.apply(text) as file:
            assert await status(outside) == 200
            target = "group: meshwright.dev, kind: ExternalService, name: pay"
            for name, expected in (("bank", 503), ("pay", 200)):
                host = f"{name}.localhost" if name == "pay" else "bank.example.com"
                await file.replace(text + policy(f"hostname: {host}, {trusted()}", target=target))
                assert await status(outside) == expected, name


async def test_what_has_come_by_tls_goes_on_by_tls(
    traffic: Traffic, outside: Outside, authority: OutsideAuthority
) -> None:
    """TLS ends at the gateway for a TLSRoute, and another begins there to a port of protocol `tcp`."""
    client = ssl.create_default_context(cafile=str(authority.ca_file))
    text = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: TLSRoute
metadata: {name: vault}
spec: {parentRefs: [{name: front, sectionName: ended}], hostnames: [gateway.example.com], rules: [{backendRefs: [{name: bank, port: 80}]}]}
"""
    async with traffic.outside(tls=authority.server("bank.example.com", clients=True)) as server:
        said = text + backend(server, "tcp")
        async with traffic.apply(said + policy(f"hostname: bank.example.com, {trusted()}")) as file:
            answer = await outside.get_tls("gateway.example.com", "ended", context=client)
            assert answer["status"] == 200
            await file.replace(said + policy(f"hostname: other.example.com, {trusted()}"))
            with pytest.raises((OSError, aiohttp.ServerDisconnectedError)):
                await outside.get_tls("gateway.example.com", "ended", context=client)
