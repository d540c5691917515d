"""What the API server asks the control plane: which pods get a sidecar, and which documents it takes.

Neither is ever asked about the control plane's own namespace, nor about those that a cluster needs to come up: a control plane that is away
must not keep itself from coming back. The `caBundle` is kept current by `meshwright/kubernetes/bundles.py`.
"""

from __future__ import annotations

from typing import Any, Final

from inject.names import DISABLED, ENABLED, INJECT
from meshwright.kubernetes.install.options import NAME, InstallOptions

NEVER: Final = ("kube-system", "kube-public", "kube-node-lease")
PATIENCE: Final = 10
"""Seconds that the API server waits for an answer."""


def mutating(options: InstallOptions, labels: dict[str, str]) -> dict[str, Any]:
    """Two, so that a pod's own label is heeded with and without one of its namespace: selectors of one webhook are joined by AND."""
    pods = [
        {
            "operations": ["CREATE"],
            "apiGroups": [""],
            "apiVersions": ["v1"],
            "resources": ["pods"],
            "scope": "Namespaced",
        }
    ]

    def webhook(name: str, namespaces: dict[str, Any], those: dict[str, Any]) -> dict[str, Any]:
        return {
            "name": f"{name}.inject.meshwright.dev",
            **_asked("/mutate", options, options.failure_policy),
            "reinvocationPolicy": "IfNeeded",
            "namespaceSelector": {"matchExpressions": [_not_ours(options), namespaces]},
            "objectSelector": {"matchExpressions": [those]},
            "rules": pods,
        }

    return _configuration("MutatingWebhookConfiguration", labels) | {
        "webhooks": [
            webhook("namespace", _label("In", *ENABLED), _label("NotIn", *DISABLED, *ENABLED)),
            webhook("pod", {"key": NAMESPACE_NAME, "operator": "Exists"}, _label("In", *ENABLED)),
        ]
    }


def validating(options: InstallOptions, labels: dict[str, str]) -> dict[str, Any]:
    rules = [
        {
            "operations": ["CREATE", "UPDATE"],
            "apiGroups": ["meshwright.dev"],
            "apiVersions": ["v1alpha1"],
            "resources": ["*"],
            "scope": "Namespaced",
        }
    ]
    return _configuration("ValidatingWebhookConfiguration", labels) | {
        "webhooks": [
            {
                "name": "validate.meshwright.dev",
                **_asked("/validate", options, options.validation_failure_policy),
                "rules": rules,
            }
        ]
    }


NAMESPACE_NAME: Final = "kubernetes.io/metadata.name"


def _not_ours(options: InstallOptions) -> dict[str, Any]:
    return {"key": NAMESPACE_NAME, "operator": "NotIn", "values": [*NEVER, options.namespace]}


def _label(operator: str, *values: str) -> dict[str, Any]:
    return {"key": INJECT, "operator": operator, "values": list(values)}


def _asked(path: str, options: InstallOptions, failure: str) -> dict[str, Any]:
    return {
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "timeoutSeconds": PATIENCE,
        "failurePolicy": failure,
        "matchPolicy": "Equivalent",
        "clientConfig": {
            "service": {"name": NAME, "namespace": options.namespace, "path": path, "port": 443}
        },
    }


def _configuration(kind: str, labels: dict[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": NAME, "labels": labels},
    }
