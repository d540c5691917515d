"""The objects of an installation, in the order in which they are to be applied."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import yaml

from meshwright.kubernetes.install import rbac
from meshwright.kubernetes.install.deployment import deployment, disruption_budget
from meshwright.kubernetes.install.options import (
    ADMIN,
    API,
    AUTHORITY_SECRET,
    JOIN,
    NAME,
    WEBHOOKS,
    XDS,
    InstallOptions,
)
from meshwright.kubernetes.install.webhooks import mutating, validating

Object = dict[str, Any]
CONTROLLER = "meshwright.dev/gateway-controller"
SETTINGS_FILE = "settings.yaml"
PART_OF = {"app.kubernetes.io/part-of": NAME}
LABELS = {"app.kubernetes.io/name": NAME, **PART_OF}
SELECTOR = {"app.kubernetes.io/name": NAME, "app.kubernetes.io/component": "control-plane"}


def objects(options: InstallOptions, crds: list[Object]) -> list[Object]:
    """All that an installation is made of. `crds`: our custom resource definitions, which come before what uses them."""
    our_kinds = tuple(sorted(crd["spec"]["names"]["plural"] for crd in crds))
    made = [
        namespace(options),
        _object("v1", "ServiceAccount", options),
        cluster_role(options, our_kinds),
        _binding("ClusterRoleBinding", "ClusterRole", options),
        _object("rbac.authorization.k8s.io/v1", "Role", options)
        | {"rules": [rule.manifest() for rule in rbac.own_rules()]},
        _binding("RoleBinding", "Role", options),
        # After who may read them, or an older control plane that runs would be refused for a moment.
        *crds,
        configuration(options),
        service(options),
        deployment(options, LABELS, SELECTOR, digest(settings(options))),
        disruption_budget(options, LABELS, SELECTOR),
        network_policy(options),
        mutating(options, LABELS),
        validating(options, LABELS),
    ]
    return [*made, gateway_class()] if options.gateway_class else made


def namespace(options: InstallOptions) -> Object:
    """Restricted Pod Security (https://kubernetes.io/docs/concepts/security/pod-security-standards/), and never injected."""
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": options.namespace,
            "labels": {
                **PART_OF,
                "meshwright.dev/inject": "disabled",
                "pod-security.kubernetes.io/enforce": "restricted",
                "pod-security.kubernetes.io/audit": "restricted",
                "pod-security.kubernetes.io/warn": "restricted",
            },
        },
    }


def cluster_role(options: InstallOptions, our_kinds: tuple[str, ...]) -> Object:
    """What is left out with an option stands last, in the order in which `helm.py` asks for it."""
    rules = [*rbac.cluster_rules(our_kinds)]
    if options.gateway_class:
        rules += rbac.gateway_rules()
    if keeps_history(options):
        rules += rbac.history_rules()
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": NAME, "labels": LABELS},
        "rules": [rule.manifest() for rule in rules],
    }


def keeps_history(options: InstallOptions) -> bool:
    kubernetes = options.settings.get("kubernetes")
    return not isinstance(kubernetes, dict) or kubernetes.get("history") != 0


def _binding(kind: str, role: str, options: InstallOptions) -> Object:
    metadata: Object = {"name": NAME, "labels": LABELS}
    if role == "Role":
        metadata = {"name": NAME, "namespace": options.namespace, "labels": LABELS}
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": kind,
        "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role, "name": NAME},
        "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": options.namespace}],
    }


def settings(options: InstallOptions) -> Object:
    """The control plane's settings: what its pods are told, and what the installation says over it."""
    host = f"{NAME}.{options.namespace}"
    own: Object = {
        "trust_domain": options.trust_domain,
        "store": "none",
        "xds_address": f"0.0.0.0:{XDS}",
        "join_address": f"0.0.0.0:{JOIN}",
        "admin_address": f"0.0.0.0:{ADMIN}",
        "api_address": f"0.0.0.0:{API}",
        "server_names": [f"{host}.svc", f"{host}.svc.{options.cluster_domain}", host, NAME],
        "log_level": options.log_level,
        "kubernetes": {
            "namespace": options.namespace,
            "authority_secret": AUTHORITY_SECRET,
            "proxy_image": options.image,
        },
    }
    return laid_over(own, options.settings)


def laid_over(under: Object, over: Object) -> Object:
    """`over` on `under`, mapping by mapping, as Helm lays values over each other."""
    both = {
        name: laid_over(under[name], value)
        for name, value in over.items()
        if isinstance(value, dict) and isinstance(under.get(name), dict)
    }
    return under | over | both


def configuration(options: InstallOptions) -> Object:
    text = yaml.safe_dump(settings(options), sort_keys=False)
    return _object("v1", "ConfigMap", options) | {"data": {SETTINGS_FILE: text}}


def digest(of: Object) -> str:
    """As Helm's `toJson | sha256sum` gives it: on the pods, so that other settings are other pods, which read them."""
    text = json.dumps(of, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    for each in "<>&":  # as Go writes them
        text = text.replace(each, f"\\u{ord(each):04x}")
    return hashlib.sha256(text.encode()).hexdigest()


def service(options: InstallOptions) -> Object:
    ports = (
        ("grpc-xds", XDS, XDS),
        ("grpc-join", JOIN, JOIN),
        ("http-metrics", ADMIN, ADMIN),
        ("https-api", API, API),
        ("https-webhooks", 443, WEBHOOKS),
    )
    return _object("v1", "Service", options) | {
        "spec": {
            "selector": SELECTOR,
            "ports": [
                {"name": name, "port": port, "targetPort": target, "protocol": "TCP"}
                for name, port, target in ports
            ],
        }
    }


def network_policy(options: InstallOptions) -> Object:
    """Who may come: anybody, at the doors that check who it is. The API server's address is known to no selector."""
    ports = [{"port": port, "protocol": "TCP"} for port in (XDS, JOIN, ADMIN, API, WEBHOOKS)]
    return _object("networking.k8s.io/v1", "NetworkPolicy", options) | {
        "spec": {
            "podSelector": {"matchLabels": SELECTOR},
            "policyTypes": ["Ingress"],
            "ingress": [{"ports": ports}],
        }
    }


def gateway_class() -> Object:
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "GatewayClass",
        "metadata": {"name": NAME, "labels": LABELS},
        "spec": {
            "controllerName": CONTROLLER,
            "description": "Envoy proxies that Meshwright runs",  # 64 bytes at most
        },
    }


def _object(version: str, kind: str, options: InstallOptions) -> Object:
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": NAME, "namespace": options.namespace, "labels": LABELS},
    }
