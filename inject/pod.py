"""`inject`: a pod, as the Kubernetes API has it, with a sidecar."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from inject import names, sidecar
from inject.annotations import read
from inject.errors import NotInjectable
from inject.names import Json
from inject.options import InjectOptions, Interception, Passed
from inject.probes import through_the_agent, wait_for_callers

DEFAULT_GRACE: Final = 30
"""Seconds, Kubernetes' own, where a pod's owner says nothing."""


@dataclass(frozen=True, slots=True)
class Injected:
    """`pod` is a new value, what was given is untouched. `warnings` are for whoever made the pod."""

    pod: Json
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LeftAlone:
    """`reason` is for whoever made the pod, and empty where it gets what it asked for: it is injected already, or wants no sidecar."""

    reason: str = ""


Outcome: TypeAlias = Injected | LeftAlone


def inject(pod: Json, options: InjectOptions) -> Outcome:
    """`pod` (its `metadata` and `spec`: a Pod or the template of one) with a sidecar.

    Left alone: who has the sidecar, or the label or annotation `meshwright.dev/inject: disabled`; and, with a reason, who shares the
    network of its node, or runs Windows. NotInjectable for one that can't have a sidecar as it is.
    """
    metadata, spec = pod.get("metadata") or {}, pod.get("spec") or {}
    if reason := _stays(metadata, spec):
        return reason
    said = read(metadata.get("annotations") or {}, options)
    # It is root, with a capability: it runs what was installed, whatever the pod says of its sidecar.
    installed, options = options.image, said.options
    warnings = [*said.unknown, *_host_ports(spec, said.passed)]
    made = copy.deepcopy(pod)
    spec = made["spec"]
    _check(spec, options)

    # Containers that restart, too: they live beside the application.
    before: list[Json] = spec.get("initContainers") or []
    held: list[Json] = spec.get("containers") or []
    checks = (
        through_the_agent([*held, *filter(_lasts, before)], warnings.append) if options.rewrite_probes else ()
    )
    warnings += [_own_hook(container) for container in held if not wait_for_callers(container)]
    own = [sidecar.proxy(options, checks)]
    if options.interception is Interception.INIT:
        own.insert(0, sidecar.intercept(replace(options, image=installed), said.passed))
    # Before the others: what they send is the pod's, too, and is to be mutual TLS.
    spec["initContainers"] = [*own, *before]
    spec["volumes"] = [*(spec.get("volumes") or []), *sidecar.volumes(options)]
    if options.pull_secrets:
        pulled = spec.get("imagePullSecrets") or []
        known = {each.get("name") for each in pulled}
        spec["imagePullSecrets"] = [*pulled, *({"name": n} for n in options.pull_secrets if n not in known)]
    _prolong(spec, options)
    _tell_discovery(made, options)
    return Injected(made, tuple(warnings))


def wanted(pod: Json) -> bool | None:
    """What the pod itself says of injection; None if it says nothing, and its namespace decides."""
    metadata = pod.get("metadata") or {}
    for each in (metadata.get("labels"), metadata.get("annotations")):
        said = (each or {}).get(names.INJECT)
        if said is not None:
            return said in names.ENABLED
    return None


def _unknown(metadata: Json) -> str:
    known = (*names.ENABLED, *names.DISABLED)
    for each in (metadata.get("labels"), metadata.get("annotations")):
        said = (each or {}).get(names.INJECT)
        if said is not None:
            return (
                ""
                if said in known
                else f"no sidecar: {names.INJECT}: {str(said)[:100]!r} is none of {', '.join(known)}"
            )
    return ""


def _stays(metadata: Json, spec: Json) -> LeftAlone | None:
    if any(each.get("name") == names.PROXY for each in _containers(spec)):
        return LeftAlone()
    if wanted({"metadata": metadata}) is False:
        return LeftAlone(_unknown(metadata))
    if spec.get("hostNetwork"):
        return LeftAlone(
            "no sidecar: the pod has the network of its node (hostNetwork), where interception would take everybody's connections"
        )
    system = (spec.get("os") or {}).get("name") or (spec.get("nodeSelector") or {}).get("kubernetes.io/os")
    if system == "windows":
        return LeftAlone("no sidecar: Envoy's interception needs Linux, and the pod is for Windows")
    return None


def _containers(spec: Json) -> Iterator[Json]:
    yield from spec.get("initContainers") or ()
    yield from spec.get("containers") or ()


def _lasts(container: Json) -> bool:
    return bool(container.get("restartPolicy") == "Always")


def _check(spec: Json, options: InjectOptions) -> None:
    there = {str(each.get("name")) for each in (*_containers(spec), *(spec.get("volumes") or ()))}
    if taken := there & {names.INTERCEPT, names.TOKEN_VOLUME, names.BUNDLE_VOLUME, names.STATE_VOLUME}:
        raise NotInjectable(f"{', '.join(sorted(taken))}: the sidecar needs that name: choose another")
    reserved = set(sidecar.ports(options))
    for container in _containers(spec):
        for port in container.get("ports") or ():
            if port.get("containerPort") in reserved and port.get("protocol", "TCP") == "TCP":
                raise NotInjectable(
                    f"container {container.get('name')}: port {port['containerPort']} is the sidecar's "
                    f"({', '.join(map(str, sorted(reserved)))}): let the application listen on another"
                )
    everybody = (spec.get("securityContext") or {}).get("runAsUser")
    for container in _containers(spec):
        user = (container.get("securityContext") or {}).get("runAsUser", everybody)
        if user == names.PROXY_USER:
            raise NotInjectable(
                f"container {container.get('name')}: runs as user {user}, which is the sidecar's: what it sends would pass the mesh by. "
                "Choose another runAsUser"
            )


def _host_ports(spec: Json, passed: Passed) -> Iterator[str]:
    """Whoever calls a port of the node comes from outside the mesh, in plaintext."""
    for container in _containers(spec):
        for port in container.get("ports") or ():
            if port.get("hostPort") and port.get("containerPort") not in passed.exclude_inbound_ports:
                yield (
                    f"container {container.get('name')}: callers of hostPort {port['hostPort']} are outside the mesh, which strict mutual TLS "
                    f'refuses: annotate {names.PREFIX}exclude-inbound-ports: "{port.get("containerPort")}", or have a MeshTLS be permissive'
                )


def _own_hook(container: Json) -> str:
    return (
        f"container {container['name']} has a preStop hook of its own: let it take as long as callers need to hear that the pod ends, "
        "a few seconds"
    )


def _prolong(spec: Json, options: InjectOptions) -> None:
    """What the pod's owner gave is the application's; what the sidecar needs comes on top. Who wants no grace at all has none."""
    grace = spec.get("terminationGracePeriodSeconds", DEFAULT_GRACE)
    if grace:
        spec["terminationGracePeriodSeconds"] = grace + options.leave_patience + options.drain_time


def _tell_discovery(pod: Json, options: InjectOptions) -> None:
    """Discovery reads pods, not their options: it has to know whether the sidecar answers queries for names."""
    metadata = pod.get("metadata") or {}  # a field may be there and say nothing
    annotations = {**(metadata.get("annotations") or {}), f"{names.PREFIX}dns": str(options.dns).lower()}
    pod["metadata"] = {**metadata, "annotations": annotations}
