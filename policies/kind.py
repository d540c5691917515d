"""What a kind of policy is to the rest of the program."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Flag, auto
from typing import Any

from documents.envelope import API_VERSION, Envelope, Kind, Part, Problem
from envoy.seams import Called, HttpFilter, Parts
from mesh.identity import TrustDomains
from mesh.localities import Spread
from mesh.merge import Fields
from mesh.names import Key
from mesh.policy import Policy
from mesh.rules import RuleView
from mesh.service import Protocol
from mesh.state import MeshState
from mesh.targeting import Level, TargetRef
from policies.document import PolicyDocument


class Side(Flag):
    """Whose sidecar enforces it. `CALLER`: at the calls to the target. `CALLEE`: where the target takes them. A `LISTENER` policy concerns
    all that a targeted workload's sidecar handles, its own calls and those to it.
    """

    CALLER = auto()
    CALLEE = auto()
    LISTENER = auto()


@dataclass(frozen=True, slots=True)
class Where:
    """What an effect is rendered for. `side` is one; the port is that of the service where it is one port's. For what a sidecar handles,
    `workload` and `identity` (a SPIFFE id) are those of its own workload.

    For a kind whose policies are a union, `policy` is the one, and `callers` the SPIFFE ids of those that it names (a prefix, ending in a slash,
    for a namespace); none means everyone. `known`: the SPIFFE ids of each service that the policy mentions as a caller and that is there.

    `gateway`: what a gateway handles: on its port, or on all of them where there is none. `aliases`, `former`: see `mesh.identity.TrustDomains`.
    """

    side: Side
    trust_domain: str
    service: Key | None = None
    workload: Key | None = None
    identity: str = ""
    port: int | None = None
    protocol: Protocol = Protocol.HTTP
    route: bool = False
    policy: str = ""
    callers: tuple[str, ...] = ()
    port_name: str = ""
    known: tuple[tuple[Key, tuple[str, ...]], ...] = ()
    gateway: bool = False
    aliases: tuple[str, ...] = ()
    former: tuple[str, ...] = ()

    @property
    def trust_domains(self) -> TrustDomains:
        return TrustDomains(self.trust_domain, self.aliases, self.former)

    def of(self, policy: str, callers: tuple[str, ...]) -> Where:
        return replace(self, policy=policy, callers=callers)


SOME_WORKLOAD = Key("", "")
"""Instead of the name of a workload, where there is one but its name does not matter."""

ANYWHERE = frozenset({Level.MESH, Level.NAMESPACE, Level.SERVICE, Level.WORKLOAD, Level.ROUTE})


@dataclass(frozen=True, slots=True)
class PolicyKind:
    """`fields` is the model of what policies say, `effect` what that does to the Envoy resources at one place.

    `filters` are the HTTP filters that the kind needs: disabled in every connection manager, enabled by routes. `levels`: what may be
    targeted; all else is refused. `unfit`: what is wrong there and the way out, where more can be said than which levels there are. `union`: policies of this kind all apply, each by itself, instead of being merged. `whole`: the nearest one
    alone applies, for its fields are conditions and effects of one thing. `join`: how what several of a union add
    becomes one, where laying one after another would not do: of two configurations of a route for one filter only the last counts.
    `inline`: what the rule of a route says itself, in the names of the kind's fields. `spread`: how it spreads calls over localities; such
    a kind has a field `locality`, by which the state of the mesh knows that callers in different places see different things. `by_workload`: whether
    what a policy of such fields does names the one workload that it is rendered for; where it does not, replicas share it, and its
    `Where` has `SOME_WORKLOAD`. `named`: what is merged is told whose it is, `Where.policy` (several with commas between), as that of a
    union is. `together`: what all policies of a union at one place come to, each with the `Where` of its own, instead of `effect` and `join`;
    where that, or an effect, cannot be said, `closed` stands in its place, for a kind whose policies must not be left out. `calls`: services that
    callers who follow a route ask for what such fields say of it. `notes`: what a policy says in vain at one
    of its targets; `news`: what it means there that it comes, from the states before and after.
    """

    document: type[PolicyDocument]
    fields: type[Part]
    side: Side
    effect: Callable[[Any, Where], Parts]
    filters: tuple[HttpFilter, ...] = ()
    levels: frozenset[Level] = ANYWHERE
    union: bool = False
    whole: bool = False
    join: Callable[[Sequence[Parts]], Parts] | None = None
    inline: Callable[[RuleView], dict[str, object]] | None = None
    spread: Callable[[Any], Spread | None] | None = None
    by_workload: Callable[[Fields], bool] | None = None
    named: bool = False
    together: Callable[[Sequence[tuple[Any, Where]]], Parts] | None = None
    closed: Callable[[Where], Parts] | None = None
    calls: Callable[[Fields], Iterator[Called]] | None = None
    notes: Callable[[MeshState, Policy, TargetRef], Iterator[str]] | None = None
    news: Callable[[MeshState, MeshState, Policy, TargetRef], Iterator[str]] | None = None
    unfit: Mapping[Level, tuple[str, str]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.document.__name__

    def as_document(self) -> Kind:
        return Kind(API_VERSION, self.name, self.document, self._unfit)

    def _unfit(self, document: Envelope) -> Iterator[Problem]:
        """The targets at which no policy of this kind can be enforced."""
        assert isinstance(document, PolicyDocument)  # noqa: S101 (`document` says so)
        for place, ref in enumerate(document.targeting().target_refs):
            if ref.level not in self.levels:
                yield Problem(("spec", "targetRefs", place, "kind"), *self._said_of(ref.level, ref.kind))

    def _said_of(self, level: Level, kind: str) -> tuple[str, str]:
        allowed = " or ".join(each.name.capitalize() for each in sorted(self.levels))
        return self.unfit.get(level) or (
            f"{self.name} is {_enforced(self.side)}, and cannot be for a {kind}",
            f"Target {allowed}",
        )


def _enforced(side: Side) -> str:
    if Side.CALLER in side:
        return "enforced by the caller"
    return "enforced by the callee" if Side.CALLEE in side else "enforced by every sidecar"
