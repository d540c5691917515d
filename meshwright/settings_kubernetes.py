"""The group of settings `kubernetes`: the clusters whose services are discovered, and the one in which the control plane runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mesh.names import SYSTEM_NAMESPACE
from meshwright.settings_groups import Address, Names
from meshwright.settings_injection import InjectionSettings


class ClusterSettings(BaseModel):
    """One cluster."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(description="What the source is called in status, metrics and logs.")] = (
        "kubernetes"
    )
    kubeconfig: Annotated[
        Path | None,
        Field(description="A kubeconfig; the cluster in which the control plane runs when unset."),
    ] = None
    context: Annotated[
        str | None, Field(description="The context of that kubeconfig; its current one when unset.")
    ] = None
    namespaces: Annotated[
        Names, Field(description="Namespaces whose services are discovered; all of them when unset.")
    ] = ()
    tokens: Annotated[
        Literal["review", "keys"],
        Field(
            description="How the service account tokens of its pods are checked when their proxies join: by asking its API server (`review`), or by "
            "the keys that this publishes (`keys`), which believes in a pod until its token ends."
        ),
    ] = "review"


class KubernetesSettings(ClusterSettings):
    """The cluster that documents are read from, and others beside it."""

    namespace: Annotated[
        str | None,
        Field(
            description="The control plane's own namespace: there are its lease, its authority and its webhooks. Unset, it only reads, and "
            "writes nothing to the cluster."
        ),
    ] = None
    root_namespace: Annotated[
        str | None,
        Field(
            min_length=1,
            description="The namespace whose documents may target the whole mesh and other namespaces, and the only one in which an EnvoyPatch and an "
            "Extension are in force: for the cluster's administrators. The control plane's own namespace when unset.",
        ),
    ] = None
    authority_secret: Annotated[
        str | None,
        Field(
            description="The Secret in that namespace in which the authority is kept that all replicas share; made if it is missing. Unset: as "
            "elsewhere, in the data directory."
        ),
    ] = None
    authority_dir: Annotated[
        Path, Field(description="Where a replica keeps its copy of that Secret: a directory in memory.")
    ] = Path("/run/meshwright/authority")
    audience: Annotated[
        str, Field(description="The audience that a pod's service account token must be for.", min_length=1)
    ] = "meshwright"
    proxy_image: Annotated[
        str,
        Field(
            description="The image of the proxies that are made in the cluster, sidecars and gateways: Meshwright's own.",
            min_length=1,
        ),
    ] = "meshwright:dev"
    gateway_service_type: Annotated[
        Literal["LoadBalancer", "NodePort", "ClusterIP"],
        Field(
            description="The type of the Services that are made for Gateways, where their parameters say nothing."
        ),
    ] = "LoadBalancer"
    gateway_cluster_ip: Annotated[
        bool,
        Field(
            description="Tell the cluster IP of a Gateway's Service as its address as long as no load balancer gives one."
        ),
    ] = False
    webhook_address: Annotated[
        Address, Field(description="Where the API server asks about pods and documents: HTTPS.")
    ] = "0.0.0.0:15017"
    injection: Annotated[
        InjectionSettings, Field(description="What the sidecars of the cluster have in common.")
    ] = InjectionSettings()
    history: Annotated[
        int,
        Field(
            ge=0,
            description="How many revisions of each document are kept beside it, as ControllerRevisions; 0: none.",
        ),
    ] = 10
    others: Annotated[
        tuple[ClusterSettings, ...],
        Field(description="Further clusters whose services are discovered, each with a name of its own."),
    ] = ()

    @property
    def root(self) -> str:
        """The root namespace."""
        return self.root_namespace or self.namespace or SYSTEM_NAMESPACE

    @model_validator(mode="after")
    def _is_whole(self) -> KubernetesSettings:
        names = [self.name, *(each.name for each in self.others)]
        if len(set(names)) < len(names):
            raise ValueError("kubernetes.others: each cluster has a name of its own")
        if self.authority_secret is not None and self.namespace is None:
            raise ValueError(
                "set kubernetes.namespace with kubernetes.authority_secret: the Secret's namespace"
            )
        return self
