"""What the proxies that are made in the cluster have in common, sidecars and gateways: from the settings."""

from __future__ import annotations

from dataclasses import replace

from inject.options import InjectOptions, Resources
from meshwright.errors import SettingsError
from meshwright.kubernetes.install.options import JOIN, NAME, XDS
from meshwright.settings import Settings


def proxy_options(settings: Settings) -> InjectOptions:
    """How a proxy in the cluster reaches the control plane, and what it runs. SettingsError where the control plane is in no cluster."""
    kubernetes = settings.kubernetes
    if kubernetes is None or kubernetes.namespace is None:
        raise SettingsError("set kubernetes.namespace: proxies reach the control plane by its Service there")
    host = f"{NAME}.{kubernetes.namespace}.svc"
    return InjectOptions(
        image=kubernetes.proxy_image,
        control_plane=f"{host}:{XDS}",
        join=f"{host}:{JOIN}",
        trust_domain=settings.trust_domain,
        cluster=kubernetes.name,
        audience=kubernetes.audience,
    )


def injection_options(settings: Settings) -> InjectOptions:
    """Those of sidecars. SettingsError as `proxy_options`."""
    common = proxy_options(settings)
    if settings.kubernetes is None:
        return common
    given = settings.kubernetes.injection
    return replace(
        common,
        lifetime=given.token_lifetime,
        pull_policy=given.image_pull_policy or "",
        pull_secrets=given.image_pull_secrets,
        resources=Resources(given.cpu, given.memory, given.cpu_limit, given.memory_limit),
        concurrency=given.concurrency,
        interception=given.interception,
        dns=given.dns,
        rewrite_probes=given.rewrite_probes,
        leave_patience=given.leave_patience,
        drain_time=given.drain_time,
        log_level=given.log_level,
    )
