"""The group of settings `kubernetes.injection`: what the sidecars of a cluster have in common. Annotations of a pod say otherwise for it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from inject.options import Interception
from meshwright.settings_groups import Names


class InjectionSettings(BaseModel):
    """See `inject.options.InjectOptions`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    image_pull_policy: Annotated[
        Literal["Always", "IfNotPresent", "Never"] | None,
        Field(description="When nodes pull the image; Kubernetes' own rule when unset."),
    ] = None
    image_pull_secrets: Annotated[
        Names, Field(description="Secrets to pull it by, which each injected namespace must have.")
    ] = ()
    cpu: Annotated[str, Field(description="CPU that a sidecar asks for.")] = "20m"
    memory: Annotated[str, Field(description="Memory that it asks for.")] = "192Mi"
    cpu_limit: Annotated[str, Field(description="CPU that it gets at most; no limit when empty.")] = ""
    memory_limit: Annotated[str, Field(description="Memory that it gets at most; no limit when empty.")] = (
        "1Gi"
    )
    concurrency: Annotated[int, Field(description="Worker threads of its Envoy.", ge=1)] = 2
    interception: Annotated[
        Interception,
        Field(
            description="Who sets up interception: `init`, a container of each pod with NET_ADMIN and NET_RAW, or `none`, somebody else."
        ),
    ] = Interception.INIT
    dns: Annotated[
        bool,
        Field(
            description="Whether sidecars answer queries for the mesh's own names (`*.mesh`, ExternalServices)."
        ),
    ] = False
    rewrite_probes: Annotated[
        bool,
        Field(
            description="Whether HTTP, TCP and gRPC probes go through the sidecar's agent, so that strict mutual TLS lets them pass."
        ),
    ] = True
    token_lifetime: Annotated[
        int, Field(description="Seconds that a service account token for the mesh is good for.", ge=600)
    ] = 3600
    leave_patience: Annotated[
        int,
        Field(
            description="Seconds that the callers of a pod get to hear that it ends, before its application is told.",
            ge=1,
        ),
    ] = 10
    drain_time: Annotated[
        int, Field(description="Seconds that a sidecar's last connections get after that.", ge=1)
    ] = 5
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Field(description="What a sidecar's agent logs.")
    ] = "info"
