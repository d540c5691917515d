"""What the control plane may do in the cluster: each rule says which code needs it. `tests/unit/meshwright/test_kubernetes_install.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from meshwright.kubernetes.install.options import AUTHORITY_SECRET, BUNDLE, NAME

SEE: Final = ("list", "watch")
MAKE: Final = ("create", "patch", "delete")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a role. `needed_by`: the modules that use it, as paths in this repository. `names` narrows it to objects of these names."""

    groups: tuple[str, ...]
    resources: tuple[str, ...]
    verbs: tuple[str, ...]
    needed_by: tuple[str, ...]
    names: tuple[str, ...] = ()

    def manifest(self) -> dict[str, Any]:
        made: dict[str, Any] = {
            "apiGroups": list(self.groups),
            "resources": list(self.resources),
            "verbs": list(self.verbs),
        }
        return made | ({"resourceNames": list(self.names)} if self.names else {})


GATEWAY_API: Final = "gateway.networking.k8s.io"
GATEWAY_KINDS: Final = (
    "gatewayclasses",
    "gateways",
    "listenersets",
    "httproutes",
    "grpcroutes",
    "tlsroutes",
    "tcproutes",
    "udproutes",
    "referencegrants",
    "backendtlspolicies",
)
NO_STATUS: Final = frozenset({"referencegrants"})


def cluster_rules(our_kinds: tuple[str, ...]) -> tuple[Rule, ...]:
    """Those of the ClusterRole that every installation needs. `our_kinds`: the plural names of our own custom resources."""
    return (
        Rule(
            ("",),
            ("services", "pods", "nodes", "namespaces"),
            ("list", "watch"),
            ("discovery/kubernetes.py",),
        ),
        Rule(("discovery.k8s.io",), ("endpointslices",), ("list", "watch"), ("discovery/kubernetes.py",)),
        Rule(("meshwright.dev",), our_kinds, SEE, ("store/kubernetes_sets.py",)),
        Rule(
            ("meshwright.dev",),
            tuple(f"{each}/status" for each in our_kinds),
            ("patch",),
            ("meshwright/kubernetes/statuses.py",),
        ),
        Rule((GATEWAY_API,), GATEWAY_KINDS, SEE, ("store/kubernetes_sets.py",)),
        Rule(
            (GATEWAY_API,),
            tuple(f"{each}/status" for each in GATEWAY_KINDS if each not in NO_STATUS),
            ("patch",),
            ("meshwright/kubernetes/statuses.py",),
        ),
        Rule(
            ("authentication.k8s.io",), ("tokenreviews",), ("create",), ("meshwright/kubernetes/tokens.py",)
        ),
        Rule(
            ("admissionregistration.k8s.io",),
            ("mutatingwebhookconfigurations", "validatingwebhookconfigurations"),
            ("list", "watch", "patch"),
            ("meshwright/kubernetes/bundles.py",),
            names=(NAME,),
        ),
        # Made by server-side apply, which has the name in its path: a create by POST could not be narrowed to one.
        Rule(
            ("",),
            ("configmaps",),
            ("list", "watch", "create", "patch"),
            ("meshwright/kubernetes/bundles.py",),
            names=(BUNDLE,),
        ),
        # Gateways' pods: whether some stand there is looked at also where none is made.
        Rule(("apps",), ("deployments",), SEE, ("meshwright/kubernetes/gateways.py",)),
    )


def gateway_rules() -> tuple[Rule, ...]:
    """Those of the ClusterRole for gateways that are run in any namespace. WIDE: who makes Deployments everywhere runs what it likes, as any
    service account; and no rule narrows a list of Secrets to names that are not known before.
    """
    return (
        # Certificates of gateways, and authorities that BackendTLSPolicies name: read where a document names them.
        Rule(("",), ("secrets", "configmaps"), SEE, ("meshwright/kubernetes/certificates.py",)),
        # Parameters of Gateways and of their class.
        Rule(("",), ("configmaps",), ("get",), ("meshwright/kubernetes/gateways.py",)),
        # A server-side apply is a patch, and a create where there is nothing yet.
        Rule(("apps",), ("deployments",), ("get", *MAKE), ("meshwright/kubernetes/gateway_writes.py",)),
        *(
            Rule((group,), (resource,), ("get", *MAKE), ("meshwright/kubernetes/gateway_writes.py",))
            for group, resource in (
                ("", "services"),
                ("", "serviceaccounts"),
                ("policy", "poddisruptionbudgets"),
            )
        ),
    )


def history_rules() -> tuple[Rule, ...]:
    """Those of the ClusterRole for revisions of documents."""
    return (
        Rule(
            ("apps",),
            ("controllerrevisions",),
            ("list", "watch", "create", "delete"),
            ("meshwright/kubernetes/history.py",),
        ),
    )


def own_rules() -> tuple[Rule, ...]:
    """Those of the Role in the control plane's own namespace."""
    return (
        # Whom the mesh trusts already, before an authority is made or taken.
        Rule(("",), ("configmaps",), ("get",), ("meshwright/kubernetes/authority.py",), names=(BUNDLE,)),
        Rule(("coordination.k8s.io",), ("leases",), ("create",), ("kube/lease.py",)),
        Rule(
            ("coordination.k8s.io",),
            ("leases",),
            ("get", "update"),
            ("kube/lease.py",),
            names=(NAME,),
        ),
        Rule(
            ("",),
            ("secrets",),
            ("create",),
            ("meshwright/kubernetes/authority.py",),
        ),
        Rule(
            ("",),
            ("secrets",),
            ("get", "update"),
            ("meshwright/kubernetes/authority.py",),
            names=(AUTHORITY_SECRET,),
        ),
    )
