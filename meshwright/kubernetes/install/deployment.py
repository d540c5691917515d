"""The control plane's pods."""

from __future__ import annotations

from typing import Any, Final

from meshwright.kubernetes.install.options import ADMIN, API, JOIN, NAME, WEBHOOKS, XDS, InstallOptions

UID: Final = 10001
"""The image's user: deploy/Dockerfile."""
DATA, KEYS, CONFIGURATION, TEMPORARY = "/var/lib/meshwright", "/run/meshwright", "/etc/meshwright", "/tmp"  # noqa: S108
SETTINGS: Final = "meshwright.dev/settings"
STOP: Final = 30
"""Seconds that a pod has to end."""


def deployment(
    options: InstallOptions, labels: dict[str, str], selector: dict[str, str], settings: str
) -> dict[str, Any]:
    """Restricted in the sense of Pod Security. `settings`: a digest of those that the pods read at their start. A new pod is ready before an old one goes: there is always one that answers webhooks."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": NAME, "namespace": options.namespace, "labels": labels},
        "spec": {
            "replicas": options.replicas,
            "selector": {"matchLabels": selector},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {
                "metadata": {
                    "labels": {**labels, **selector, "meshwright.dev/inject": "disabled"},
                    "annotations": {
                        SETTINGS: settings,
                        "prometheus.io/scrape": "true",
                        "prometheus.io/port": str(ADMIN),
                        "prometheus.io/path": "/metrics",
                    },
                },
                "spec": _pod(options, selector),
            },
        },
    }


def _pod(options: InstallOptions, selector: dict[str, str]) -> dict[str, Any]:
    apart = {
        "maxSkew": 1,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": selector},
    }
    return {
        "serviceAccountName": NAME,
        "enableServiceLinks": False,  # variables named MESHWRIGHT_… are settings
        "terminationGracePeriodSeconds": STOP,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": UID,
            "runAsGroup": UID,
            "fsGroup": UID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [
            apart | {"topologyKey": "kubernetes.io/hostname"},
            apart | {"topologyKey": "topology.kubernetes.io/zone"},
        ],
        "containers": [_container(options)],
        "volumes": [
            {"name": "configuration", "configMap": {"name": NAME}},
            {"name": "data", "emptyDir": {"sizeLimit": "1Gi"}},
            # The authority's key: in the memory of the node, on no disk of it.
            {"name": "keys", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}},
            {"name": "temporary", "emptyDir": {"sizeLimit": "256Mi"}},
        ],
    }


def _container(options: InstallOptions) -> dict[str, Any]:
    def asked(path: str, **more: int) -> dict[str, Any]:
        return {"httpGet": {"path": path, "port": "admin"}, **more}

    ports = (("xds", XDS), ("join", JOIN), ("admin", ADMIN), ("api", API), ("webhooks", WEBHOOKS))
    mounts = (("data", DATA), ("keys", KEYS), ("temporary", TEMPORARY))
    return {
        "name": NAME,
        "image": options.image,
        "imagePullPolicy": options.image_pull_policy,
        "args": ["serve", "--config", f"{CONFIGURATION}/settings.yaml"],
        "env": [
            # For who runs a command in the pod, too.
            {"name": "MESHWRIGHT_DATA_DIR", "value": f"{DATA}/data"},
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "POD_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
        ],
        "ports": [{"name": name, "containerPort": port, "protocol": "TCP"} for name, port in ports],
        # It starts once the registry's first whole answer is there.
        "startupProbe": asked("/healthz", periodSeconds=1, failureThreshold=120),
        "readinessProbe": asked("/readyz", periodSeconds=2, failureThreshold=2, timeoutSeconds=5),
        "livenessProbe": asked("/healthz", periodSeconds=10, failureThreshold=6, timeoutSeconds=10),
        "resources": {
            "requests": {
                "cpu": options.cpu_request,
                "memory": options.memory_request,
                "ephemeral-storage": "64Mi",
            },
            "limits": {"memory": options.memory_limit},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [
            {"name": "configuration", "mountPath": CONFIGURATION, "readOnly": True},
            *({"name": name, "mountPath": path} for name, path in mounts),
        ],
    }


def disruption_budget(
    options: InstallOptions, labels: dict[str, str], selector: dict[str, str]
) -> dict[str, Any]:
    """One at a time may go, also where there is but one: it must not hold up the drain of a node."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": NAME, "namespace": options.namespace, "labels": labels},
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": selector},
        },
    }
