"""Every route is in the table of who may what, and every line of the table is a route."""

from __future__ import annotations

import pytest

from api.access import NEEDS, Need, Where, check
from api.errors import Forbidden
from api.roles import Caller, Grant, Role, Way
from api.table import ROUTES


def a_caller(*grants: Grant) -> Caller:
    return Caller("someone", Way.TOKEN, "127.0.0.1", grants)


def test_table_and_routes_agree() -> None:
    assert {route.name for route in ROUTES} == NEEDS.keys()


def test_operations_are_unique() -> None:
    operations = [route.operation for route in ROUTES]
    assert sorted(set(operations)) == sorted(operations)


@pytest.mark.parametrize("held", list(Role))
@pytest.mark.parametrize("needed", list(Role))
def test_a_role_has_what_those_below_it_have(held: Role, needed: Role) -> None:
    caller = a_caller(Grant(held))
    if held >= needed:
        check(Need(needed), caller, None)
    else:
        with pytest.raises(Forbidden, match=f"is not {needed} in all namespaces"):
            check(Need(needed), caller, None)


def test_a_grant_for_namespaces_is_for_those_alone() -> None:
    caller = a_caller(Grant(Role.EDITOR, frozenset({"shop"})))
    check(Need(Role.EDITOR, Where.PATH), caller, "shop")
    check(Need(Role.EDITOR, Where.EACH), caller, None)
    with pytest.raises(Forbidden, match="in namespace default"):
        check(Need(Role.EDITOR, Where.PATH), caller, "default")
    with pytest.raises(Forbidden):
        check(Need(Role.VIEWER), caller, None)
    with pytest.raises(Forbidden):
        check(Need(Role.ADMIN, Where.EACH), caller, None)


def test_nobody_may_nothing() -> None:
    with pytest.raises(Forbidden):
        check(Need(Role.VIEWER, Where.EACH), a_caller(), None)
