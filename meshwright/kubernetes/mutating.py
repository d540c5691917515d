"""The answer about a pod that is about to be made: the patch that gives it a sidecar. Pure."""

from __future__ import annotations

from inject.errors import NotInjectable
from inject.options import InjectOptions
from inject.patch import patch
from inject.pod import LeftAlone, inject
from kube.resource import Object
from meshwright.kubernetes.admission import Answer


def mutated(request: Object, options: InjectOptions) -> Answer:
    """Which pods are asked about is a matter of the webhook's selectors (namespaces, labels); what a pod itself says is heeded here, too.

    A pod that asks for a sidecar and cannot have one is refused: without it, it would be outside the mesh and nobody would know.
    """
    pod = request.get("object")
    kind = (request.get("kind") or {}).get("kind")
    if request.get("operation") != "CREATE" or kind != "Pod" or not isinstance(pod, dict):
        return Answer()
    try:
        outcome = inject(pod, options)
    except NotInjectable as error:
        return Answer(
            allowed=False,
            message=f"the pod cannot have a sidecar: {error}; or label it meshwright.dev/inject: disabled",
        )
    if isinstance(outcome, LeftAlone):
        return Answer(warnings=(f"meshwright: {outcome.reason}",) if outcome.reason else ())
    warnings = tuple(f"meshwright: {each}" for each in outcome.warnings)
    return Answer(patch=tuple(patch(pod, outcome.pod)), warnings=warnings)
