"""What all routes that write documents have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from api import preconditions
from api.drafts import Draft
from api.errors import Conflicting, Forbidden
from api.ownership import updated
from api.roles import Caller, Role
from api.routing import Call, Reply
from api.shapes.documents import (
    WriteAnswer,
)
from api.shapes.problem import FieldProblem
from api.standing import Stand
from api.writing import Permit, Plan, PlannedPut
from documents.reading import Tree
from mesh.names import Key
from policies.reach import FOR_ADMINS, targets
from store.stored import Stored

WRITE_PROBLEMS: Final = (409, 413, 415, 422, 503, 507)
"""How every write may be refused, besides what any route may."""


def manager_of(given: str | None, caller: Caller) -> str:
    return given or caller.name


def permit(caller: Caller, kind: str, namespace: str, tree: Tree = None) -> None:
    """Forbidden, unless `caller` may write (or delete) a document of `kind` in `namespace` that says `tree`: there, and wherever its
    `spec.targetRefs` reach.

    Other references to elsewhere hold for the callers of the document's own namespace alone, as `parentRefs` do.
    """
    role = Role.ADMIN if kind in FOR_ADMINS else Role.EDITOR
    if caller.may(role):
        return
    if not caller.may(role, namespace):
        raise Forbidden(
            f"{caller.name} is not {role} in namespace {namespace[:63]}, which a {kind[:63]} takes"
        )
    for place, target in targets(tree, namespace):
        if target is None or not caller.may(role, target):
            where = "all namespaces" if target is None else f"namespace {target[:63]}"
            raise Forbidden(
                f"{caller.name} is not {role} in {where}, which spec.targetRefs[{place}] of this {kind[:63]} takes: "
                f"target what is in namespace {namespace[:63]}, or use a token of that role there"
            )


def permits(caller: Caller) -> Permit:
    """For a `Writer`: whether `caller` may write what was planned, and change or delete what was there."""

    def permitted(stand: Stand, plan: Plan) -> None:
        for put in plan.puts:
            permit(caller, put.draft.kind, put.draft.key.namespace, put.draft.tree)
        for name in (*((put.draft.kind, put.draft.key) for put in plan.puts), *plan.deletes):
            present = stand.stored.get(name)
            permit(caller, name[0], name[1].namespace, dict(present.body) if present is not None else None)

    return permitted


def permit_draft(caller: Caller, given: Draft) -> None:
    """Before anything is planned. Unprocessable, Forbidden."""
    given.check_named()
    permit(caller, given.kind, given.key.namespace, given.tree)


def planned(given: Draft, present: Stored | None, manager: str) -> PlannedPut:
    live, owners = (present.body, present.managed) if present is not None else (None, {})
    return PlannedPut(given, updated(given.kind, live, owners, mapping_of(given), manager))


def mapping_of(given: Draft) -> Mapping[str, Tree]:
    return given.tree if isinstance(given.tree, dict) else {}


def check_headers(call: Call[Any, Any], present: Stored | None, kind: str, key: Key) -> None:
    version = present.resource_version if present is not None else None
    preconditions.check(call.request.headers, version, f"{kind} {key}")


def same_version(given: Draft, version: str | None, present: Stored | None) -> None:
    wrong = changed_meanwhile(str(given), version, present, "")
    if wrong:
        raise Conflicting(f"{given}: {wrong[0].reason}: nothing was written", errors=tuple(wrong))


def changed_meanwhile(what: str, version: str | None, present: Stored | None, at: str) -> list[FieldProblem]:
    if version is None or (present is not None and present.resource_version == version):
        return []
    now = f"has version {present.resource_version}" if present is not None else "is not there"
    path = f"{at}.metadata.resourceVersion".strip(".")
    return [
        problem(
            what,
            path,
            f"you have version {version[:40]}, and it {now}",
            "Read it again, and repeat the change on that",
        )
    ]


def problem(what: str, path: str, reason: str, remedy: str) -> FieldProblem:
    return FieldProblem(document=what, path=path, reason=reason, remedy=remedy)


def told(
    call: Call[Any, Any], answer: WriteAnswer, status: int = 200, headers: Mapping[str, str] | None = None
) -> Reply:
    call.told["revision"] = answer.revision
    call.told["dry_run"] = "yes" if answer.dry_run else ""
    call.told["documents"] = [
        f"{each.op} {each.kind} {each.namespace}/{each.name}" for each in answer.changes[:100]
    ]
    return Reply(answer, status, headers or {})
