"""Who may write a document: a role for a namespace is one for what the document reaches, and for nothing beyond."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from api.changing import permit, permit_draft, permits
from api.drafts import Draft
from api.errors import Forbidden, Unprocessable
from api.roles import Caller, Grant, Role, Way
from api.standing import Stand
from api.writing import Plan, PlannedPut
from documents.reading import Tree
from documents.sets import DocumentSet
from mesh.names import Key
from store.stored import Stored


def a_caller(*grants: Grant) -> Caller:
    return Caller("someone", Way.TOKEN, "127.0.0.1", grants)


def of(role: Role, *namespaces: str) -> Caller:
    return a_caller(Grant(role, frozenset(namespaces) or None))


def a_policy(*targets: Tree) -> dict[str, Tree]:
    return {
        "kind": "AccessPolicy",
        "metadata": {"name": "all", "namespace": "shop"},
        "spec": {"targetRefs": [*targets], "default": "deny"},
    }


ELSEWHERE: tuple[Tree, ...] = (
    {"kind": "Mesh"},
    {"kind": "Service", "name": "api", "namespace": "blog"},
    {"kind": "HTTPRoute", "name": "api", "namespace": "blog"},
    {"kind": "Namespace", "name": "blog"},
    {"kind": "Namespace", "namespace": "blog"},
    {"kind": "Namespace", "name": "shop", "namespace": "blog"},
)
HERE: tuple[Tree, ...] = (
    {"kind": "Service", "name": "api"},
    {"kind": "Service", "name": "api", "namespace": "shop"},
    {"kind": "Namespace"},
    {"kind": "Namespace", "name": "shop"},
)


@pytest.mark.parametrize("target", ELSEWHERE)
@pytest.mark.parametrize("kind", ["AccessPolicy", "RolloutPolicy", "EnvoyPatch"])
def test_a_target_elsewhere_takes_the_role_there(kind: str, target: Tree) -> None:
    tree = a_policy({"kind": "Service", "name": "own"}, target)
    with pytest.raises(Forbidden, match=r"spec.targetRefs\[1\]"):
        permit(of(Role.ADMIN, "shop"), kind, "shop", tree)
    permit(of(Role.ADMIN), kind, "shop", tree)


def test_whoever_has_the_role_in_both_writes_it_but_for_the_whole_mesh() -> None:
    both = of(Role.EDITOR, "shop", "blog")
    permit(both, "AccessPolicy", "shop", a_policy(*ELSEWHERE[1:]))
    with pytest.raises(Forbidden, match="all namespaces"):
        permit(both, "AccessPolicy", "shop", a_policy(ELSEWHERE[0]))
    viewer_there = a_caller(Grant(Role.EDITOR, frozenset({"shop"})), Grant(Role.VIEWER, frozenset({"blog"})))
    with pytest.raises(Forbidden, match="editor in namespace blog"):
        permit(viewer_there, "AccessPolicy", "shop", a_policy(ELSEWHERE[1]))


@pytest.mark.parametrize("target", HERE)
def test_a_target_of_its_own_namespace_takes_no_more(target: Tree) -> None:
    permit(of(Role.EDITOR, "shop"), "AccessPolicy", "shop", a_policy(target))


@pytest.mark.parametrize("kind", ["EnvoyPatch", "Extension", "Secret"])
def test_what_tells_envoy_anything_takes_an_admin(kind: str) -> None:
    with pytest.raises(Forbidden, match="not admin in namespace shop"):
        permit(of(Role.EDITOR), kind, "shop", a_policy(HERE[0]))
    permit(of(Role.ADMIN, "shop"), kind, "shop", a_policy(HERE[0]))
    there = a_caller(Grant(Role.ADMIN, frozenset({"shop"})), Grant(Role.EDITOR))
    with pytest.raises(Forbidden, match="not admin in namespace blog"):
        permit(there, kind, "shop", a_policy(ELSEWHERE[1]))


NAME = "AccessPolicy", Key("shop", "all")


def a_stand(body: dict[str, Tree]) -> Stand:
    stored = Stored(*NAME, body, datetime(2026, 1, 1, tzinfo=UTC), "u", 1, "1")
    return Stand(1, {NAME: stored}, DocumentSet())


@pytest.mark.parametrize(
    ("present", "plan"),
    [
        (a_policy(*ELSEWHERE[:1]), Plan((PlannedPut(Draft(a_policy(HERE[0]))),))),
        (a_policy(HERE[0]), Plan((PlannedPut(Draft(a_policy(ELSEWHERE[0]))),))),
        (a_policy(*ELSEWHERE[:1]), Plan(deletes=(NAME,))),
    ],
    ids=["what it was", "what it becomes", "what is deleted"],
)
def test_what_was_there_counts_as_what_is_written(present: dict[str, Tree], plan: Plan) -> None:
    with pytest.raises(Forbidden):
        permits(of(Role.EDITOR, "shop"))(a_stand(present), plan)
    permits(of(Role.EDITOR))(a_stand(present), plan)
    permits(of(Role.EDITOR, "shop"))(a_stand(a_policy(HERE[0])), Plan(deletes=(NAME,)))


@pytest.mark.parametrize(
    ("tree", "path"),
    [
        ([], ""),
        ({"metadata": {"name": "a"}}, "kind"),
        ({"kind": 5, "metadata": {"name": "a"}}, "kind"),
        ({"kind": "Service"}, "metadata"),
        ({"kind": "Service", "metadata": {"name": "a", "namespace": ["shop"]}}, "metadata.namespace"),
        ({"kind": "Service", "metadata": {"name": "a", "namespace": None}}, "metadata.namespace"),
        ({"kind": "Service", "metadata": {"namespace": "shop"}}, "metadata.name"),
    ],
)
def test_what_does_not_say_its_name_is_told_so_not_refused(tree: Tree, path: str) -> None:
    with pytest.raises(Unprocessable) as caught:
        permit_draft(of(Role.EDITOR, "shop"), Draft(tree, place="documents[3]"))
    assert [each.path for each in caught.value.errors] == [f"documents[3].{path}".rstrip(".")]
