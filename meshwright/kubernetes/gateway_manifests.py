"""What is made in the cluster for a Gateway: proxies that play it, and a Service by which they are reached. Pure.

Source: GEP-1762 (in-cluster gateway deployments) and GEP-1867 (infrastructure): names, labels, and what is passed on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from agent.app_probes import AGENT_PORT, READY
from inject import names, sidecar
from inject.options import InjectOptions
from kube.resource import DEPLOYMENTS, SERVICE_ACCOUNTS, SERVICES, Object, Resource
from mesh.gateways import Gateway, GatewayListener, ListenerProtocol

DISRUPTION_BUDGETS: Final = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
GATEWAY_NAME: Final = "gateway.networking.k8s.io/gateway-name"
"""The label of all that is made for a Gateway (GEP-1762); of a pod, it says which one it plays."""
CLASS_NAME: Final = "gateway.networking.k8s.io/gateway-class-name"
MANAGED_BY: Final = "app.kubernetes.io/managed-by"
US: Final = "meshwright"

LEAVING: Final = 5
"""Seconds that a pod which ends still takes connections: until no node's rules lead to it any more."""
DRAINING: Final = 25
"""Seconds that open connections get then."""
STARTING: Final = 300
"""Seconds until a pod that does not become ready is started again."""
LONGEST: Final = 63


@dataclass(frozen=True, slots=True)
class GatewayOptions:
    """`proxy`: image and addresses, as of sidecars. `replicas` None: as many as there are, which an autoscaler may have said."""

    proxy: InjectOptions
    service_type: str = "LoadBalancer"
    replicas: int | None = None


@dataclass(frozen=True, slots=True)
class Infrastructure:
    """What of a Gateway's object is passed on to what is made for it."""

    uid: str
    api_version: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


Manifest = tuple[Resource, Object]


def object_name(gateway: str) -> str:
    """The name of what is made for `gateway`: a DNS label, as Services need it, whatever its own, and another for each."""
    return _short(f"{gateway.replace('.', '-')}-{US}", gateway if "." in gateway else "")


def label_value(gateway: str) -> str:
    """`gateway` as the value of GATEWAY_NAME: the whole name, unless a label cannot hold it."""
    return _short(gateway)


def _short(text: str, of: str = "") -> str:
    """`text`, cut where it is too long, with a digest then. `of`: what it stands for, whose digest it has in any case."""
    if len(text) <= LONGEST and not of:
        return text
    digest = hashlib.blake2b((of or text).encode(), digest_size=4).hexdigest()
    return f"{text[: LONGEST - len(digest) - 1].rstrip('-.')}-{digest}"


def manifests(gateway: Gateway, infrastructure: Infrastructure, options: GatewayOptions) -> list[Manifest]:
    """For `gateway`, which is as `mesh.listener_sets.whole` has it. Without a port there is no Service: it would need one."""
    name, namespace = object_name(gateway.key.name), gateway.key.namespace
    selector = {GATEWAY_NAME: label_value(gateway.key.name)}
    labels = {**infrastructure.labels, **selector, CLASS_NAME: _short(gateway.class_name), MANAGED_BY: US}

    def made(resource: Resource, **parts: Any) -> Manifest:
        metadata: Object = {
            "name": name,
            "namespace": namespace,
            "labels": labels,
            "ownerReferences": [_owner(gateway, infrastructure)],
        }
        if infrastructure.annotations:
            metadata["annotations"] = dict(infrastructure.annotations)
        return resource, {
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": metadata,
            **parts,
        }

    pod: Object = {"metadata": {"labels": labels}, "spec": _pod(name, selector, options)}
    if infrastructure.annotations:
        pod["metadata"]["annotations"] = dict(infrastructure.annotations)
    deployment: Object = {
        "selector": {"matchLabels": selector},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}},
        "template": pod,
    }
    if options.replicas is not None:
        deployment["replicas"] = options.replicas
    found = [
        made(SERVICE_ACCOUNTS, automountServiceAccountToken=False),
        made(DEPLOYMENTS, spec=deployment),
        made(DISRUPTION_BUDGETS, spec={"maxUnavailable": 1, "selector": {"matchLabels": selector}}),
    ]
    if ports := list(_ports(gateway.listeners)):
        service: Object = {"type": options.service_type, "selector": selector, "ports": ports}
        found.append(made(SERVICES, spec=service | _addresses(gateway, options)))
    return found


def _owner(gateway: Gateway, infrastructure: Infrastructure) -> Object:
    """So that the cluster takes away what was made when the Gateway goes."""
    return {
        "apiVersion": infrastructure.api_version,
        "kind": "Gateway",
        "name": gateway.key.name,
        "uid": infrastructure.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def _ports(listeners: Iterable[GatewayListener]) -> Iterable[Object]:
    """Each number of each transport once: as the listener has it, for its proxy may listen at any port."""
    seen: set[tuple[int, str]] = set()
    for each in sorted(listeners, key=lambda each: each.port):
        transport = "UDP" if each.protocol is ListenerProtocol.UDP else "TCP"
        if (each.port, transport) not in seen:
            seen.add((each.port, transport))
            yield {
                "name": f"{each.protocol.lower()}-{each.port}",
                "port": each.port,
                "targetPort": each.port,
                "protocol": transport,
            }


def _addresses(gateway: Gateway, options: GatewayOptions) -> Object:
    """The address that a Gateway asks for, as far as a Service can: it has one of each family, and we ask for the first."""
    if not gateway.addresses:
        return {}
    first = gateway.addresses[0]
    return {"loadBalancerIP": first} if options.service_type == "LoadBalancer" else {"clusterIP": first}


def _pod(name: str, selector: Mapping[str, str], options: GatewayOptions) -> Object:
    proxy = options.proxy
    ready = {"path": READY, "port": AGENT_PORT, "scheme": "HTTP"}
    environment = [
        {**each, "value": f"{DRAINING}s"} if each["name"] == "MESHWRIGHT_DRAIN_TIME" else each
        for each in sidecar.environment(proxy)
    ]
    container: Object = {
        "name": names.PROXY,
        "image": proxy.image,
        "args": ["proxy", "--concurrency", str(proxy.concurrency), "--log-level", proxy.log_level],
        "env": environment,
        "ports": [{"name": "mw-agent", "containerPort": AGENT_PORT, "protocol": "TCP"}],
        "startupProbe": {
            "httpGet": ready,
            "periodSeconds": 1,
            "timeoutSeconds": 3,
            "failureThreshold": STARTING,
        },
        "readinessProbe": {"httpGet": ready, "periodSeconds": 5, "timeoutSeconds": 3, "failureThreshold": 3},
        "lifecycle": {"preStop": {"sleep": {"seconds": LEAVING}}},
        "resources": sidecar.resources(proxy.resources),
        "securityContext": sidecar.restricted(),
        "volumeMounts": sidecar.mounts(),
    }
    if proxy.pull_policy:
        container["imagePullPolicy"] = proxy.pull_policy
    spec: Object = {
        "serviceAccountName": name,
        "enableServiceLinks": False,  # variables named MESHWRIGHT_… are options
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": LEAVING + DRAINING + 15,
        "securityContext": {
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
            # A safe sysctl: whoever is not root may listen at 80 and 443, in this pod's network alone
            # (https://kubernetes.io/docs/tasks/administer-cluster/sysctl-cluster/#safe-and-unsafe-sysctls).
            "sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}],
        },
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": dict(selector)},
            }
        ],
        "containers": [container],
        "volumes": sidecar.volumes(proxy),
    }
    if proxy.pull_secrets:
        spec["imagePullSecrets"] = [{"name": each} for each in proxy.pull_secrets]
    return spec
