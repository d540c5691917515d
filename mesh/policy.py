"""Policies as values, and where to find those that concern a subject.

What a policy says is a frozen mapping of fields; what its kind makes of them is the business of the `policies` room.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from immutables import Map

from mesh.merge import Attachment, Fields, Merged, combine, nearest
from mesh.names import Key
from mesh.targeting import Caller, CallerRef, RouteName, TargetRef, references
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


Names = Map[PolicyName, None]
"""A persistent set, in any order."""
NO_NAMES: Names = Map()


@dataclass(frozen=True, slots=True)
class PolicyIndex:
    """All policies, by name, by what they target, and by whom they name. Persistent: a change of one costs what that one has.

    `by_caller`: those that are for some callers only, by these. `naming`: those that name a service or a workload as callers, or
    mention it, by that; service accounts and namespaces are what they are called, whoever has them.
    """

    policies: Map[PolicyName, Policy] = Map()
    attached: Map[tuple[str, TargetRef], tuple[Attachment, ...]] = Map()
    by_caller: Map[CallerRef, Names] = Map()
    naming: Map[TargetRef, Names] = Map()
    by_locality: Names = Map()
    by_transport: Names = Map()

    def put(self, policy: Policy) -> PolicyIndex:
        """With `policy`, in place of what had its name."""
        without = self.without(policy.name)
        attached = without.attached.mutate()
        for each in policy.attachments():
            key = policy.kind, each.target
            others = attached.get(key, ())
            place = bisect_right(others, each.key, key=_by_key)
            attached[key] = (*others[:place], each, *others[place:])
        name = policy.name
        return PolicyIndex(
            without.policies.set(name, policy),
            attached.finish(),
            _with(without.by_caller, policy.callers, name),
            _with(without.naming, _named(policy), name),
            without.by_locality.set(name, None) if policy.by_locality else without.by_locality,
            without.by_transport.set(name, None) if policy.by_transport else without.by_transport,
        )

    def without(self, name: PolicyName) -> PolicyIndex:
        old = self.policies.get(name)
        if old is None:
            return self
        attached = self.attached.mutate()
        for target in set(old.targets):
            others = attached[old.kind, target]
            first, end = (at(others, old.key, key=_by_key) for at in (bisect_left, bisect_right))
            left = (*others[:first], *others[end:])
            if left:
                attached[old.kind, target] = left
            else:
                del attached[old.kind, target]
        return PolicyIndex(
            self.policies.delete(name),
            attached.finish(),
            _less(self.by_caller, old.callers, name),
            _less(self.naming, _named(old), name),
            self.by_locality.delete(name) if old.by_locality else self.by_locality,
            self.by_transport.delete(name) if old.by_transport else self.by_transport,
        )

    def facets(self, caller: Caller) -> frozenset[PolicyName]:
        """The policies for some callers only that concern `caller`: whoever has the same shares what is rendered."""
        if not self.by_caller:
            return frozenset()
        return frozenset(name for ref in references(caller) for name in self.by_caller.get(ref, ()))

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


def _named(policy: Policy) -> Iterator[TargetRef]:
    """The services and workloads whose identities `policy` is rendered with."""
    for each in (*policy.callers, *policy.mentions):
        if each.service_account is not None:
            continue
        if each.service is not None:
            yield TargetRef.service(Key(each.namespace, each.service))
        elif each.workload is not None:
            yield TargetRef.workload(Key(each.namespace, each.workload))


Of = TypeVar("Of", CallerRef, TargetRef)


def _with(index: Map[Of, Names], places: Iterable[Of], name: PolicyName) -> Map[Of, Names]:
    for each in places:
        index = index.set(each, index.get(each, NO_NAMES).set(name, None))
    return index


def _less(index: Map[Of, Names], places: Iterable[Of], name: PolicyName) -> Map[Of, Names]:
    for each in set(places):
        left = index[each].delete(name)
        index = index.set(each, left) if left else index.delete(each)
    return index
