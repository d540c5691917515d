"""Documents of the policies that tell of traffic, and the places that they are rendered for."""

from __future__ import annotations

import textwrap

from documents.parsing import parse
from envoy.seams import Parts
from mesh.merge import thawed
from mesh.names import Key
from mesh.policy import Policy
from mesh.service import Protocol
from policies.kind import PolicyKind, Side, Where
from policies.registry import KINDS
from tests.support.builders import TRUST_DOMAIN

OUTBOUND = Where(
    Side.CALLER,
    TRUST_DOMAIN,
    workload=Key("default", "web-1"),
    identity=f"spiffe://{TRUST_DOMAIN}/ns/default/sa/web",
)
INBOUND = Where(
    Side.CALLEE,
    TRUST_DOMAIN,
    Key("default", "web"),
    Key("default", "web-1"),
    f"spiffe://{TRUST_DOMAIN}/ns/default/sa/web",
    80,
    Protocol.HTTP,
)


def document(kind: str, spec: str, target: str = "{kind: Mesh}") -> str:
    body = textwrap.indent(textwrap.dedent(spec).strip(), "  ")
    return (
        f"apiVersion: meshwright.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: it}}\n"
        f"spec:\n  targetRefs: [{target}]\n{body}\n"
    )


def refusals(text: str) -> list[str]:
    """What is wrong with the documents: `path: reason. remedy`."""
    return [
        f"{each.where.path}: {each.reason}. {each.remedy}"
        for each in parse("a.yaml", text.encode(), KINDS).errors
    ]


def parts(kind: PolicyKind, spec: str, where: Where) -> Parts:
    """What one policy does at a place."""
    parsed = parse("a.yaml", document(kind.name, spec).encode(), KINDS)
    assert not parsed.errors, parsed.errors
    (policy,) = (each.value for each in parsed.documents)
    assert isinstance(policy, Policy)
    return kind.effect(kind.fields.model_validate(thawed(policy.fields)), where)
