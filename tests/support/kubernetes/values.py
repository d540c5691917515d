"""Objects of the Kubernetes API as it gives them to who lists and watches, with as little as the tests need."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


def metadata(name: str, namespace: str = "shop", **more: Any) -> Json:
    return {"name": name, **({"namespace": namespace} if namespace else {}), **more}


def a_service(name: str = "api", *ports: Json, address: str = "10.97.0.9", **spec: Any) -> Json:
    """With port 80 for HTTP unless `ports` say otherwise."""
    return {
        "metadata": metadata(name),
        "spec": {
            "type": "ClusterIP",
            "clusterIP": address,
            "clusterIPs": [address],
            "ports": list(ports) or [port("http", 80)],
            **spec,
        },
    }


def port(name: str, number: int, speaks: str = "", transport: str = "TCP") -> Json:
    said = {"appProtocol": speaks} if speaks else {}
    return {"name": name, "port": number, "protocol": transport, **said}


def a_slice(
    name: str, *endpoints: Json, service: str = "api", ports: dict[str, int] | None = None, **more: Any
) -> Json:
    """Of the ports `http`, 8080, unless `ports` say otherwise."""
    numbers = {"http": 8080} if ports is None else ports
    return {
        "metadata": metadata(name, labels={"kubernetes.io/service-name": service}),
        "addressType": "IPv4",
        "ports": [{"name": each, "port": number, "protocol": "TCP"} for each, number in numbers.items()],
        "endpoints": list(endpoints),
        **more,
    }


def an_endpoint(
    address: str,
    pod: str = "",
    *,
    ready: bool | None = True,
    serving: bool | None = None,
    terminating: bool | None = None,
    zone: str = "",
    node: str = "",
) -> Json:
    conditions = {"ready": ready, "serving": serving, "terminating": terminating}
    return {
        "addresses": [address],
        "conditions": {name: value for name, value in conditions.items() if value is not None},
        **({"targetRef": {"kind": "Pod", "name": pod}} if pod else {}),
        **({"zone": zone} if zone else {}),
        **({"nodeName": node} if node else {}),
    }


def a_pod(
    name: str, address: str = "10.245.0.7", *, meshed: bool = False, account: str = "api", **more: Any
) -> Json:
    """`more`: labels, annotations, node, phase, and of the spec."""
    sidecar = [{"name": "meshwright-proxy", "restartPolicy": "Always"}] if meshed else []
    found = {each: more.pop(each) for each in ("labels", "annotations") if each in more}
    phase, node = more.pop("phase", "Running"), more.pop("node", "one")
    return {
        "metadata": metadata(name, **found),
        "spec": {
            "serviceAccountName": account,
            "nodeName": node,
            "initContainers": sidecar,
            "containers": [{"name": "app"}],
            **more,
        },
        "status": {"phase": phase, "podIP": address},
    }


def a_node(name: str, region: str = "", zone: str = "") -> Json:
    found = {"topology.kubernetes.io/region": region, "topology.kubernetes.io/zone": zone}
    return {"metadata": metadata(name, "", labels={each: value for each, value in found.items() if value})}
