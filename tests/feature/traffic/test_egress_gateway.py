"""Calls to the outside through a gateway: a route of the host outside leads to the gateway, and a route of the gateway leads on."""

from __future__ import annotations

from pathlib import Path

from tests.support.outside_ca import OutsideAuthority
from tests.support.traffic.edge import documents
from tests.support.traffic.world import Traffic

DOCUMENTS = """
---
apiVersion: meshwright.dev/v1alpha1
kind: ExternalService
metadata: {{name: payments}}
spec:
  hosts: [pay.localhost]
  ports: [{{name: http, port: 80, targetPort: {outside}, protocol: http}}]
---
apiVersion: meshwright.dev/v1alpha1
kind: Secret
metadata: {{name: exit}}
spec: {{certificateFile: {chain}, keyFile: {key}, authoritiesFile: {ca}}}
---
apiVersion: meshwright.dev/v1alpha1
kind: Service
metadata: {{name: exit}}
spec: {{ports: [{{name: https, port: 443, protocol: http}}]}}
---
apiVersion: meshwright.dev/v1alpha1
kind: Workload
metadata: {{name: exit-door}}
spec: {{services: [exit], address: 127.0.0.1, ports: [{{name: https, app: {door}}}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {{name: exit}}
spec:
  targetRefs: [{{name: exit}}]
  validation: {{hostname: exit.example.com, caCertificateRefs: [{{group: "", kind: Secret, name: exit}}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: to-the-gateway}}
spec:
  parentRefs: [{{group: "", kind: Service, name: payments}}]
  rules: [{{backendRefs: [{{name: exit, port: 443}}]}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: from-the-gateway}}
spec:
  parentRefs: [{{name: exit}}]
  hostnames: [pay.localhost]
  rules:
  - filters: [{{type: RequestHeaderModifier, requestHeaderModifier: {{set: [{{name: x-via, value: exit}}]}}}}]
    backendRefs: [{{group: meshwright.dev, kind: ExternalService, name: payments, port: 80}}]
"""


async def test_calls_to_the_outside_leave_by_a_gateway(traffic: Traffic, tmp_path: Path) -> None:
    authority, door = OutsideAuthority(tmp_path), traffic.port()
    chain, key = authority.certify("exit.example.com")
    key.chmod(0o600)
    listener = (
        f"  - {{name: https, port: {door}, protocol: HTTPS, tls: {{certificateRefs: [{{name: exit}}]}}}}"
    )
    async with traffic.outside() as server:
        text = documents("exit", listener) + DOCUMENTS.format(
            outside=server.member.app_ports["http"], door=door, chain=chain, key=key, ca=authority.ca_file
        )
        async with traffic.apply(text):
            async with traffic.proxy("exit-1", "exit"):
                answer = await traffic.get("http://pay.localhost/bill")
                assert answer.status == 200, answer
                assert server.requests[-1].headers["x-via"] == "exit"
                assert server.requests[-1].headers["host"] == "pay.localhost"
            assert (await traffic.get("http://pay.localhost/bill")).status == 503  # there is no other way out
            assert len(server.requests) == 1
