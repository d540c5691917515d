"""AccessPolicy: who may call what. Enforced by the callee.

The rules are in `access_rules`, what they are in Envoy's messages in `access_messages`; `access_verdict` tells without a proxy what
becomes of a request.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final, Literal

from documents.envelope import Problem
from documents.expressions import flaw
from envoy.seams import Parts
from mesh.policy import Policy
from mesh.targeting import CallerRef, Level
from policies import access_fields, access_messages, access_notes, access_patterns
from policies.access_conditions import ALWAYS
from policies.access_fields import AccessFields, WhenFields
from policies.access_rules import SCOPE, Plan, Stated, plan, stated
from policies.document import PolicyDocument, Targeting
from policies.kind import ANYWHERE, PolicyKind, Side, Where

EXAMPLE: Final = """\
apiVersion: meshwright.dev/v1alpha1
kind: AccessPolicy
metadata: {name: store}
spec:
  targetRefs: [{kind: Service, name: store}]
  action: allow
  rules:
  - from: [{service: api}]
    to: [{methods: [GET], paths: [/items/*]}]
  - from: [{namespace: ops}]
    when: [{claim: groups, values: [admins]}]
---
apiVersion: meshwright.dev/v1alpha1
kind: AccessPolicy
metadata: {name: default-deny}
spec: {targetRefs: [{kind: Namespace}], default: deny}
"""


class AccessSpec(Targeting, AccessFields):
    pass


class AccessPolicy(PolicyDocument):
    """Who may call what.

    All policies that concern a workload hold together, wherever they are attached, in no order: what one `deny` applies to is refused. What
    is left is let in if an `allow` applies to it, or if there is neither an `allow` nor a `default: deny`. **So the first `allow` policy of
    a target shuts out everybody whom no policy names**: try it with `dryRun: true` first.

    Refused HTTP requests are answered with 403, refused TCP connections are closed; callers are not told why. In access logs `policy` names
    the one that refused: `default/store`, or, with a `~` before it, `~default/store` where no rule of `default/store` applied. A change is in force
    at once, for requests on connections that are open too; of TCP for new connections, while those that were there are drained.

    On TCP ports there are no requests: an `allow` rule with conditions on them never applies there, and a `deny` rule applies to every
    connection that meets the rest of it. Name `ports` in such a rule.
    """

    api_version: Literal["meshwright.dev/v1alpha1"]
    kind: Literal["AccessPolicy"]
    spec: AccessSpec

    def own_problems(self) -> Iterator[Problem]:
        spec = self.spec
        if spec.from_:
            yield Problem(("spec", "from"), "callers are named in rules", "Move it: rules: [{from: [...]}]")
        if spec.enforced:
            yield Problem(
                ("spec", "enforced"), "access policies all hold, and a deny always wins", "Remove enforced"
            )
        if spec.default is not None:
            for name in ("action", "rules"):
                if getattr(spec, name) is not None:
                    yield Problem(
                        ("spec", name),
                        f"default: deny stands alone, without {name}",
                        f"Remove {name}, or make two policies of it",
                    )
            return
        if spec.action is None:
            yield Problem(
                ("spec", "action"),
                "what becomes of what the rules apply to is not said",
                "Add action: allow, deny or audit; or default: deny, without rules",
            )
        elif spec.rules is None:
            remedy = "Add rules; [{}] applies to everything"
            if spec.action == "allow":
                remedy += (
                    ". To let nobody in whom no other policy allows, write default: deny instead of action"
                )
            yield Problem(("spec", "rules"), f"there is nothing to {spec.action}", remedy)
        if spec.action == "audit" and spec.dry_run:
            yield Problem(("spec", "dryRun"), "an audit refuses nothing anyway", "Remove dryRun")
        yield from self._too_long()

    def _too_long(self) -> Iterator[Problem]:
        """Values of headers that are looked for in lists are regular expressions, which Envoy takes to a certain size."""
        for place, rule in enumerate(self.spec.rules or ()):
            for at, condition in enumerate(rule.when or ()):
                for name, number, value in self._looked_for(condition):
                    if value != access_patterns.STAR and flaw(access_patterns.among(value).value) is not None:
                        yield Problem(
                            ("spec", "rules", place, "when", at, name, number),
                            f"a value of {len(value)} characters is too long for this condition",
                            "Shorten it, and put a * at its end",
                        )

    def _looked_for(self, condition: WhenFields) -> Iterator[tuple[str, int, str]]:
        """The field, the place in it and the value."""
        for name, values in (("values", condition.values), ("notValues", condition.not_values)):
            loose = (name == "values") is (self.spec.action != "allow")
            if condition.steps() == SCOPE or (condition.header is not None and loose):
                yield from ((name, number, str(each)) for number, each in enumerate(values or ()))

    def value(self, origin: tuple[str, ...]) -> Policy:
        own = self.metadata.namespace
        named = {
            CallerRef(namespace or own, service) for namespace, service in access_fields.services(self.spec)
        }
        return replace(PolicyDocument.value(self, origin), mentions=tuple(sorted(named, key=str)))


def effect(fields: AccessFields, where: Where) -> Parts:
    """What one policy alone comes to."""
    return together(((fields, where),))


def together(policies: Sequence[tuple[AccessFields, Where]]) -> Parts:
    """What all policies come to that concern one place; each has the `Where` of its own, which are the same but for `policy` and `known`."""
    where = policies[0][1]
    found = plan(stated(fields, of_policy) for fields, of_policy in policies)
    if where.gateway and where.port is not None:
        # Its routes are those of all its ports: there stands what holds on each of them, and acts at once. The rest, for this port.
        on_each = plan(stated(fields, replace(of_policy, port=None)) for fields, of_policy in policies)
        found = found.beyond(on_each) if where.protocol.is_http else found
    return _parts(found, where)


def closed(where: Where) -> Parts:
    """Where something is wrong with policies nobody foresaw, nobody is let in: what they would have refused is not known."""
    return _parts(plan([Stated(where.policy, "deny", switch=False, dry_run=False, condition=ALWAYS)]), where)


def _parts(found: Plan, where: Where) -> Parts:
    if where.gateway and where.port is not None and where.protocol.is_http:
        return access_messages.on_manager(found)
    if where.protocol.is_http:
        return access_messages.on_routes(found)
    return access_messages.on_connections(found, f"{where.service}:{where.port}")


KIND: Final = PolicyKind(
    AccessPolicy,
    AccessFields,
    Side.CALLEE,
    effect,
    filters=access_messages.standing(),
    levels=ANYWHERE - {Level.ROUTE},
    union=True,
    together=together,
    closed=closed,
    notes=access_notes.notes,
    news=access_notes.news,
)
