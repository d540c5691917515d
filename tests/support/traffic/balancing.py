"""What the tests of LoadBalancing share: who answers, policies, and endpoints that fall ill."""

from __future__ import annotations

from collections.abc import Iterable

from tests.support.processes import eventually
from tests.support.traffic.client import shares
from tests.support.traffic.world import Traffic

URL = "http://api.mesh/"
API = "{kind: Service, name: api}"
CHECK = """
---
apiVersion: meshwright.dev/v1alpha1
kind: HealthCheck
metadata: {name: check}
spec:
  targetRefs: [{kind: Service, name: api}]
  interval: 50ms
  unhealthyThreshold: 1
  http: {path: /healthz}
"""


def policy(spec: str, target: str = API) -> str:
    return f"""
apiVersion: meshwright.dev/v1alpha1
kind: LoadBalancing
metadata: {{name: balance}}
spec:
  targetRefs: [{target}]
  {spec}
"""


def elsewhere(service: str, port: int, region: str, zone: str) -> str:
    """`far-1`, an endpoint of `service` in another place."""
    return f"""
---
apiVersion: meshwright.dev/v1alpha1
kind: Workload
metadata: {{name: far-1}}
spec:
  services: [{service}]
  address: 127.0.0.1
  ports: [{{name: http, app: {port}}}]
  locality: {{region: {region}, zone: {zone}}}
"""


async def answered_by(traffic: Traffic, *wanted: str) -> None:
    """Wait until `wanted` answer, and no others."""

    async def settled() -> bool:
        return set(shares(await traffic.many(24, URL))) == set(wanted)

    await eventually(settled, f"{', '.join(wanted)} take the traffic")


def ill(traffic: Traffic, names: Iterable[str]) -> None:
    """Their health checks fail from now on."""
    for name in names:
        traffic.servers[name].behave("status=503", "/healthz")
