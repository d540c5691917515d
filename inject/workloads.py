"""Manifests that hold a pod: where it stands in each kind."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from inject.errors import NotInjectable
from inject.names import Json
from inject.options import InjectOptions
from inject.pod import LeftAlone, inject
from inject.shape import check

TEMPLATE: Final = ("spec", "template")
PODS: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("v1", "Pod"): (),
    ("v1", "ReplicationController"): TEMPLATE,
    ("apps/v1", "Deployment"): TEMPLATE,
    ("apps/v1", "StatefulSet"): TEMPLATE,
    ("apps/v1", "DaemonSet"): TEMPLATE,
    ("apps/v1", "ReplicaSet"): TEMPLATE,
    ("batch/v1", "Job"): TEMPLATE,
    ("batch/v1", "CronJob"): ("spec", "jobTemplate", "spec", "template"),
}
"""By apiVersion and kind: the fields that lead to the pod."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """`value` is what was given, the same object, where nothing in it got a sidecar. `notes`: a line for each thing that its owner should know."""

    value: Any
    notes: tuple[str, ...] = ()


def injected(manifest: Any, options: InjectOptions) -> Manifest:
    """`manifest` with sidecars in all pods that it holds; a List is looked into. NotInjectable names the object."""
    if not isinstance(manifest, dict):
        return Manifest(manifest)
    if manifest.get("kind") == "List" and isinstance(manifest.get("items"), list):
        made = [injected(each, options) for each in manifest["items"]]
        notes = tuple(note for each in made for note in each.notes)
        if all(new.value is old for new, old in zip(made, manifest["items"], strict=True)):
            return Manifest(manifest, notes)
        return Manifest({**manifest, "items": [each.value for each in made]}, notes)
    path = PODS.get((str(manifest.get("apiVersion")), str(manifest.get("kind"))))
    return Manifest(manifest) if path is None else _workload(manifest, path, options)


def _workload(manifest: Json, path: tuple[str, ...], options: InjectOptions) -> Manifest:
    metadata = manifest.get("metadata")
    called = metadata.get("name") if isinstance(metadata, dict) else None
    name = f"{manifest['kind']} {called or '(without a name)'}"
    pod: Any = manifest
    for part in path:
        pod = pod.get(part) if isinstance(pod, dict) else None
    if not isinstance(pod, dict) or not isinstance(pod.get("spec"), dict):
        raise NotInjectable(f"{name}: there is no pod at {'.'.join((*path, 'spec'))}")
    try:
        check(pod)
        outcome = inject(pod, options)
    except NotInjectable as error:
        raise NotInjectable(f"{name}: {error}") from error
    if isinstance(outcome, LeftAlone):
        return Manifest(manifest, (f"{name}: {outcome.reason}",) if outcome.reason else ())
    notes = tuple(f"{name}: {each}" for each in outcome.warnings)
    if not path:
        return Manifest(outcome.pod, notes)
    made = copy.deepcopy(manifest)
    holder: Any = made
    for part in path[:-1]:
        holder = holder[part]
    holder[path[-1]] = outcome.pod
    return Manifest(made, notes)
