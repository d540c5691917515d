"""Policies of one kind that all hold at a place, none in the place of another."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from envoy.seams import NOTHING, Parts
from mesh.merge import Attachment, Fields, thawed
from mesh.names import Key
from mesh.policy import Place, PolicyName
from mesh.state import MeshState
from policies.kind import PolicyKind, Where

Known = tuple[tuple[Key, tuple[str, ...]], ...]
Resolved = tuple[tuple[str, Fields, Known], ...]
"""For each policy: `<namespace>/<name>`, what it says, and the SPIFFE ids of each service that it mentions and that is there."""


@dataclass(frozen=True, slots=True)
class Made:
    """`problem`: why what stands here is not what the policies say."""

    parts: Parts = NOTHING
    problem: str = ""


def attached(kind: PolicyKind, state: MeshState, place: Place) -> tuple[Attachment, ...]:
    """By namespace and name. A policy that targets a place twice, as the mesh and as a service, still is one."""
    found = {
        each.key: each
        for target in place.targets()
        for each in state.policies.attached.get((kind.name, target), ())
    }
    return tuple(found[key] for key in sorted(found))


@dataclass(slots=True)
class Mentions:
    """Whom policies mention, asked once for each policy as long as services, their identities and policies are the same."""

    _of: dict[PolicyName, Known] = field(default_factory=dict)
    _as: tuple[object, object, object] | None = None

    def of(self, state: MeshState, policy: PolicyName) -> Known:
        """As `state` knows them. States share what has not changed: so two with other endpoints only are the same here."""
        here = (state.services, state.accounts, state.policies)
        if self._as is None or any(one is not other for one, other in zip(self._as, here, strict=True)):
            self._as = here
            self._of.clear()
        known = self._of.get(policy)
        if known is None:
            mentions = state.policies.policies[policy].mentions
            services = (Key(each.namespace, each.service) for each in mentions if each.service is not None)
            known = self._of[policy] = tuple(
                (service, tuple(sorted(each.uri for each in state.caller_identities(service))))
                for service in services
                if service in state.services
            )
        return known


def resolved(kind: PolicyKind, state: MeshState, found: Iterable[Attachment], mentions: Mentions) -> Resolved:
    return tuple((str(each.key), each.fields, mentions.of(state, (kind.name, each.key))) for each in found)


def read(kind: PolicyKind, policies: Resolved, where: Where) -> list[tuple[Any, Where]]:
    """The fields of each policy, and where it stands. ValidationError if they are wrong."""
    return [
        (kind.fields.model_validate(thawed(fields)), replace(where, policy=name, known=known))
        for name, fields, known in policies
    ]


def made(kind: PolicyKind, policies: Resolved, where: Where) -> Made:
    """What `policies` come to at one place."""
    assert kind.together is not None  # noqa: S101 (the caller's condition)
    try:
        return Made(kind.together(read(kind, policies, where)))
    except Exception as error:  # noqa: BLE001 (what nobody foresaw must not take the service with it)
        problem = f"together: {type(error).__name__}: {error}"
        if kind.closed is None:
            return Made(problem=f"left out: {problem}")
        names = ",".join(name for name, _, _ in policies)
        return Made(kind.closed(replace(where, policy=names)), f"everything is refused: {problem}")
