"""Clusters and endpoints go before what leads to them, over all streams; and nobody waits for long."""

from __future__ import annotations

import asyncio

from tests.support.xds_talk import DeltaTalk, a_cache, publish, several
from xds.pace import CALM, LONGEST, Pace
from xds.types import CLUSTER, LISTENER, SECRET


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_nothing_waits_before_anything_was_sent() -> None:
    assert not Pace(Clock()).hurried()


def test_what_leads_to_clusters_waits_until_it_is_calm() -> None:
    pace = Pace(clock := Clock())
    pace.first_matters()
    assert pace.hurried()
    clock.now += CALM
    assert not pace.hurried()


def test_endpoints_that_change_without_end_keep_nothing_back_for_ever() -> None:
    pace = Pace(clock := Clock())
    held = 0.0
    while held < 10 * LONGEST:
        pace.first_matters()
        if not pace.hurried():
            break
        clock.now += CALM / 2
        held += CALM / 2
    assert LONGEST <= held <= LONGEST + CALM


async def test_who_waits_is_woken_once_it_is_calm_and_who_has_gone_is_not() -> None:
    pace, woken = Pace(asyncio.get_running_loop().time), asyncio.Event()
    gone: list[str] = []

    def wake_gone() -> None:
        gone.append("woken")

    pace.first_matters()
    pace.later(woken.set)
    pace.later(wake_gone)
    pace.forget(wake_gone)
    async with asyncio.timeout(5):
        await woken.wait()
    assert not pace.hurried()
    assert not gone


def test_a_session_in_a_hurry_sends_clusters_and_secrets_and_says_that_listeners_wait() -> None:
    cache = a_cache(*several(CLUSTER, "c"), *several(LISTENER, "l"), *several(SECRET, "s"))
    talk = DeltaTalk(cache)
    for kind in (CLUSTER, LISTENER):
        talk.ask(kind)
    talk.ask(SECRET, "s")
    talk.drain()
    publish(cache, *several(CLUSTER, "c", "2"), *several(LISTENER, "l", "2"), *several(SECRET, "s", "2"))
    sent = []
    while (response := talk.session.poll(0.0, hurried=True)) is not None:
        sent.append(response[0])
    assert sent == [CLUSTER, SECRET]
    assert talk.session.yields
    assert not talk.session.settled


def test_when_only_listeners_are_left_they_wait_and_go_when_it_is_calm() -> None:
    cache = a_cache(*several(LISTENER, "l"))
    talk = DeltaTalk(cache).ask(LISTENER)
    talk.drain()
    publish(cache, *several(LISTENER, "l", "2"))
    assert talk.session.poll(0.0, hurried=True) is None
    assert talk.session.yields
    assert [each.bodies for each in talk.drain()] == [{"l": "l=2"}]
    assert not talk.session.yields
