"""Which policy, and which of its lines, said what a proxy does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from immutables import Map

from explain.answer import Source
from explain.provenance import Provenance
from mesh.merge import Attachment, Fields, Path, freeze
from mesh.names import Key
from mesh.policy import Place, PolicyName
from mesh.rules import RuleView
from mesh.state import MeshState
from mesh.targeting import TargetRef
from policies import unions
from policies.kind import PolicyKind
from policies.registry import POLICIES
from policies.retry import KIND as RETRY
from policies.timeout import KIND as TIMEOUT

KINDS: Mapping[str, PolicyKind] = {each.name: each for each in POLICIES}
INSIDE_ROUTES: Mapping[str, Mapping[Path, tuple[str, ...]]] = {
    TIMEOUT.name: {("request",): ("timeouts", "request"), ("perTry",): ("timeouts", "backendRequest")},
    RETRY.name: {
        ("on",): ("retry",),
        ("codes",): ("retry", "codes"),
        ("attempts",): ("retry", "attempts"),
        ("backoff", "base"): ("retry", "backoff"),
    },
}
"""What a rule of a route says itself, by the policy's field that it stands for."""


@dataclass(frozen=True, slots=True)
class Said:
    """A field of a kind of policies as it holds at a place: where it is said, and the whole of that policy or rule."""

    value: object
    source: Source
    document: Source


@dataclass(frozen=True, slots=True)
class Blame:
    """For one caller: `facets` are the policies for some callers only that concern it."""

    state: MeshState
    provenance: Provenance
    facets: frozenset[PolicyName] = frozenset()

    def merged(self, kind: str, place: Place, rule: RuleView | None = None) -> dict[str, Said]:
        """What the policies of `kind`, the nearest first, and the rule of a route itself say at `place`, by the path of the field."""
        found = KINDS[kind]
        inside = found.inline(rule) if found.inline is not None and rule is not None else {}
        inline: tuple[Attachment, ...] = ()
        if inside and rule is not None:
            target = TargetRef.inline(rule.route)
            inline = (Attachment(rule.route.key, target, freeze(inside), origin=rule.origin),)
        merged = self.state.policies.merged(kind, place, self.facets, inline, whole=found.whole)
        own = {} if rule is None else dict(_leaves(freeze(inside)))
        said = {}
        for path, value in _leaves(merged.fields):
            policy = merged.origins[path]
            if rule is not None and path in own and policy == rule.route.key and own[path] == value:
                inner = INSIDE_ROUTES.get(kind, {}).get(path, ())
                at = ("spec", "rules", rule.place)
                whole = self.provenance.document(rule.route.kind, rule.route.key, *at)
                source = self.provenance.document(rule.route.kind, rule.route.key, *at, *inner)
            else:
                whole = self.provenance.document(kind, policy, "spec")
                source = self.provenance.document(kind, policy, "spec", *path)
            said[".".join(path)] = Said(value, source, whole)
        return said

    def all_of(self, kind: str, place: Place) -> tuple[Source, ...]:
        """The policies of a kind whose policies all hold, at `place`."""
        found = unions.attached(KINDS[kind], self.state, place)
        return tuple(
            self.provenance.document(kind, each.key, "spec")
            for each in found
            if not each.callers or not self.facets or (kind, each.key) in self.facets
        )

    def of(self, kind: str, place: Place | None, rule: RuleView | None = None) -> tuple[Source, ...]:
        """The documents of `kind` that say something at `place`, each once."""
        if place is None:
            return ()
        if KINDS[kind].union:
            return self.all_of(kind, place)
        said = self.merged(kind, place, rule).values()
        return tuple(dict.fromkeys(each.document for each in said))

    def policy(self, kind: str, key: Key, *path: str | int) -> Source:
        return self.provenance.document(kind, key, *path)


def _leaves(fields: Fields, path: Path = ()) -> Iterator[tuple[Path, object]]:
    for name, value in fields.items():
        here = (*path, name)
        if isinstance(value, Map):
            yield from _leaves(value, here)
        else:
            yield here, value
