"""Policies as values, and where to find those that concern a subject.

What a policy says is a frozen mapping of fields; what its kind makes of them is the business of the `policies` room.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from immutables import Map

from mesh.merge import Attachment, Fields, Merged, combine, nearest
from mesh.names import Key
from mesh.targeting import Caller, CallerRef, RouteName, TargetRef, concerns
from mesh.transport import MESH_TLS

PolicyName = tuple[str, Key]
"""Kind and key."""


@dataclass(frozen=True, slots=True)
class Policy:
    """One document. `fields` is its `spec` without what says to whom it applies. `mentions`: callers that its fields name, and whose
    identities it is rendered with; it does not concern them alone.
    """

    kind: str
    key: Key
    targets: tuple[TargetRef, ...]
    fields: Fields
    callers: tuple[CallerRef, ...] = ()
    enforced: bool = False
    created: datetime | None = None
    origin: tuple[str, ...] = field(default=(), compare=False)
    mentions: tuple[CallerRef, ...] = ()

    @property
    def name(self) -> PolicyName:
        return self.kind, self.key

    @property
    def by_locality(self) -> bool:
        """Whether what it says depends on where the caller is."""
        return "locality" in self.fields

    @property
    def by_transport(self) -> bool:
        """Whether it decides how callers speak to the endpoints of what it targets."""
        return self.kind == MESH_TLS

    def attachments(self) -> Iterator[Attachment]:
        """One for each target."""
        for target in self.targets:
            yield Attachment(
                self.key, target, self.fields, self.callers, self.enforced, self.created, self.origin
            )


@dataclass(frozen=True, slots=True)
class Place:
    """A destination in terms of what policies target. None for what is not there: a policy that targets it does not apply."""

    namespace: str
    service: Key | None = None
    workload: Key | None = None
    route: RouteName | None = None

    def targets(self) -> Iterator[TargetRef]:
        """All targets that cover this place."""
        yield TargetRef.mesh()
        yield TargetRef.of_namespace(self.namespace)
        if self.service is not None:
            yield TargetRef.service(self.service)
        if self.workload is not None:
            yield TargetRef.workload(self.workload)
        if self.route is not None:
            yield TargetRef.route(self.route)


@dataclass(frozen=True, slots=True)
class PolicyIndex:
    """All policies, by name and by what they target. Persistent: a change of one costs what that one has."""

    policies: Map[PolicyName, Policy] = Map()
    attached: Map[tuple[str, TargetRef], tuple[Attachment, ...]] = Map()
    by_caller: frozenset[PolicyName] = frozenset()
    by_locality: frozenset[PolicyName] = frozenset()
    by_transport: frozenset[PolicyName] = frozenset()
    by_mention: frozenset[PolicyName] = frozenset()

    def put(self, policy: Policy) -> PolicyIndex:
        """With `policy`, in place of what had its name."""
        without = self.without(policy.name)
        attached = without.attached.mutate()
        for each in policy.attachments():
            key = policy.kind, each.target
            attached[key] = tuple(sorted((*attached.get(key, ()), each), key=_by_key))
        by_caller = without.by_caller | {policy.name} if policy.callers else without.by_caller
        by_locality = without.by_locality | {policy.name} if policy.by_locality else without.by_locality
        by_transport = without.by_transport | {policy.name} if policy.by_transport else without.by_transport
        return PolicyIndex(
            without.policies.set(policy.name, policy),
            attached.finish(),
            by_caller,
            by_locality,
            by_transport,
            without.by_mention | {policy.name} if policy.mentions else without.by_mention,
        )

    def without(self, name: PolicyName) -> PolicyIndex:
        old = self.policies.get(name)
        if old is None:
            return self
        attached = self.attached.mutate()
        for target in set(old.targets):
            left = tuple(each for each in attached[old.kind, target] if each.key != old.key)
            if left:
                attached[old.kind, target] = left
            else:
                del attached[old.kind, target]
        return PolicyIndex(
            self.policies.delete(name),
            attached.finish(),
            self.by_caller - {name},
            self.by_locality - {name},
            self.by_transport - {name},
            self.by_mention - {name},
        )

    def facets(self, caller: Caller) -> frozenset[PolicyName]:
        """The policies for some callers only that concern `caller`: whoever has the same shares what is rendered."""
        return frozenset(name for name in self.by_caller if concerns(self.policies[name].callers, caller))

    def merged(
        self,
        kind: str,
        place: Place,
        facets: frozenset[PolicyName] = frozenset(),
        inline: Iterable[Attachment] = (),
        *,
        whole: bool = False,
    ) -> Merged:
        """What the policies of `kind` say together for `place`, to a caller of those `facets`. `inline`: fields of a route itself.
        `whole`: the nearest policy alone counts, not field by field.
        """
        found = [
            each
            for target in place.targets()
            for each in self.attached.get((kind, target), ())
            if not each.callers or (kind, each.key) in facets
        ]
        return nearest((*found, *inline)) if whole else combine((*found, *inline))


def _by_key(each: Attachment) -> Key:
    return each.key
