"""Proxies report for as long as somebody asks, and a little longer."""

from __future__ import annotations

from mesh.names import Key
from meshwright.log_watch import LogWatch
from tests.support.processes import eventually

WEB, API, STORE = Key("shop", "web-1"), Key("shop", "api-1"), Key("shop", "store-1")


async def test_a_proxy_reports_until_its_lease_ends() -> None:
    told: list[frozenset[Key]] = []
    watch = LogWatch(told.append, lease=0.05)
    assert watch.want(WEB)
    assert watch.want(API)
    assert told == [{WEB}, {WEB, API}]

    async def over() -> bool:
        return told[-1] == frozenset()

    await eventually(over, "both leases end", every=0.01)
    assert watch.want(WEB)
    assert told[-1] == {WEB}
    watch.close()


async def test_who_asks_again_changes_nothing_but_the_end() -> None:
    told: list[frozenset[Key]] = []
    watch = LogWatch(told.append)
    assert watch.want(WEB)
    assert watch.want(WEB)
    assert told == [{WEB}]
    watch.close()


async def test_only_so_many_report_at_a_time() -> None:
    told: list[frozenset[Key]] = []
    watch = LogWatch(told.append, most=2)
    assert [watch.want(each) for each in (WEB, API, STORE, WEB)] == [True, True, False, True]
    assert told[-1] == {WEB, API}
    watch.close()
