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
from api.writing import PlannedPut
from documents.kinds import SECRET
from documents.reading import Tree
from mesh.names import Key
from store.stored import Stored

WRITE_PROBLEMS: Final = (409, 413, 415, 422, 503, 507)
"""How every write may be refused, besides what any route may."""


def manager_of(given: str | None, caller: Caller) -> str:
    return given or caller.name


def permit(caller: Caller, kind: str, namespace: str) -> None:
    """Whoever writes a Secret has the control plane read files of its host: that is for admins alone."""
    role = Role.ADMIN if kind == SECRET.name else Role.EDITOR
    if not caller.may(role, namespace):
        raise Forbidden(
            f"{caller.name} is not {role} in namespace {namespace[:63]}, which a {kind[:63]} takes"
        )


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
