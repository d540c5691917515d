"""State machines: whatever happens in whatever order, clients end with what the cache has for them, and nothing breaks on the way."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.support.xds_envoy import ModelEnvoy
from tests.support.xds_talk import a_resource, read
from xds.cache import ResourceCache, ScopeChange, lookup
from xds.resource import Name, Resource
from xds.types import CLUSTER, ENDPOINT, LISTENER, ROUTE, SCOPED_ROUTE

NAMES = ("a", "b", "c", "d")
CONTENTS = st.sampled_from(["1", "2", "3"])
OFTEN = st.sampled_from(["1", "2", "3", "1", "2", "3", "bad1", "bad2"])


@st.composite
def worlds(draw: st.DrawFn, *, bad: bool, own: str = "") -> tuple[Resource, ...]:
    """A whole content that makes sense: nothing refers to what is not there. With `own`, the names are of one scope alone."""
    contents = OFTEN if bad else CONTENTS
    names = [own + name for name in draw(st.sets(st.sampled_from(NAMES), min_size=0 if own else 1))]
    put = [a_resource(CLUSTER, name, draw(contents)) for name in names]
    put += [a_resource(ENDPOINT, name, draw(CONTENTS)) for name in names]

    def needs() -> tuple[Name, ...]:
        some = draw(st.sets(st.sampled_from(sorted(names)), min_size=1, max_size=2)) if names else set()
        return tuple(need for name in sorted(some) for need in ((CLUSTER, name), (ENDPOINT, name)))

    for route in draw(st.sets(st.sampled_from(NAMES), max_size=3)):
        refers = needs()
        # What a resource refers to is part of its content.
        content = draw(contents) + "," + "+".join(name for kind, name in refers if kind == CLUSTER)
        put.append(a_resource(ROUTE, own + route, content, needs=refers))
        put.append(a_resource(SCOPED_ROUTE, own + route, draw(contents), needs=()))
    for listener in draw(st.sets(st.sampled_from(NAMES[:2]))):
        refers = needs()
        content = draw(contents) + "," + "+".join(name for kind, name in refers if kind == CLUSTER)
        put.append(a_resource(LISTENER, own + listener, content, needs=refers))
    return tuple(put)


class Machine(RuleBasedStateMachine):
    """`protocol` and `refuses` are set by the tests below."""

    delta = True
    refuses = False

    def __init__(self) -> None:
        super().__init__()
        self.cache = ResourceCache()
        self.known: dict[tuple[str, str], Resource] = {}
        self.dice: list[bool] = []
        self.checked = True
        for scope in ("common", "own-1", "own-2"):
            self.cache.publish([ScopeChange(scope)])
        self.cache.open()
        self.envoy = ModelEnvoy(self.cache, ("own-1", "common"), self.known, self, delta=self.delta)

    # The client's choices

    def applies(self, name: str) -> bool:
        return self._next()

    def names_the_culprit(self) -> bool:
        return self._next()

    def is_answered_meanwhile(self) -> bool:
        return self._next()

    def _next(self) -> bool:
        if not self.dice:
            return True
        self.dice.append(self.dice.pop(0))
        return self.dice[0]

    @initialize(dice=st.lists(st.booleans(), max_size=5))
    def choose(self, dice: list[bool]) -> None:
        self.dice = dice

    # What happens

    def _publish(self, scope: str, put: tuple[Resource, ...]) -> None:
        for each in put:
            self.known[each.type_url, read(each.body)] = each
        self.cache.publish([ScopeChange(scope, put=put, replace=True)], changed_at=0.0)

    @rule(data=st.data())
    def publish(self, data: st.DataObject) -> None:
        self._publish("common", data.draw(worlds(bad=self.refuses)))

    @rule(data=st.data())
    def publish_and_settle(self, data: st.DataObject) -> None:
        """So that many a time there is something to break."""
        self.publish(data)
        self.settle()

    @rule(data=st.data(), scope=st.sampled_from([1, 2]))
    def publish_own(self, data: st.DataObject, scope: int) -> None:
        self._publish(f"own-{scope}", data.draw(worlds(bad=self.refuses, own=f"own{scope}-")))

    @rule(times=st.integers(1, 4))
    def receive(self, times: int) -> None:
        for _ in range(times):
            self.envoy.receive()
            self._check()

    @rule(place=st.integers(0, 5))
    def answer(self, place: int) -> None:
        places = self.envoy.answerable()
        if places:
            self.envoy.answer(places[place % len(places)])

    @rule(scope=st.sampled_from([1, 2]))
    def rescope(self, scope: int) -> None:
        self.envoy.scopes = (f"own-{scope}", "common")
        self.envoy.talk.session.rescope(self.envoy.scopes)

    @precondition(lambda self: self.delta or not self.refuses)
    @rule()
    def reconnect(self) -> None:
        # In the state of the world a client does not say what it holds: one that comes back while something is
        # refused can't be given what it had instead.
        self.envoy.talk.session.close()
        self.envoy.connect()
        # Nor can anything be kept for it that has gone meanwhile: the first answer does not have it.
        self.checked = self.delta

    @precondition(lambda self: self.delta)
    @rule(name=st.sampled_from(["a", "b", "unheard"]))
    def ask_for_a_cluster(self, name: str) -> None:
        self.envoy.named.add(name)
        assert self.envoy.talk.session.delta
        self.envoy.talk.ask(CLUSTER, name)

    @precondition(lambda self: self.envoy.named - self.envoy.held[CLUSTER].keys())
    @rule(data=st.data())
    def leave_a_cluster(self, data: st.DataObject) -> None:
        # Of one that it holds and the wildcard wants as well, a client would not say so.
        name = data.draw(st.sampled_from(sorted(self.envoy.named - self.envoy.held[CLUSTER].keys())))
        self.envoy.named.discard(name)
        talk: Any = self.envoy.talk
        talk.ask(CLUSTER, leave=[name])

    @rule()
    def settle(self) -> None:
        self.envoy.settle(self._check)
        self.checked = True
        self._check()
        self._check_ends()

    # What must hold

    @invariant()
    def _check(self) -> None:
        if self.checked:
            assert not list(self.envoy.dangling())

    def _refused(self, kind: str, target: Resource) -> bool:
        """Whether the client does not take it: it is bad, or it refers to what is."""
        return read(target.body).partition("=")[2].startswith("bad") or any(
            (needed := lookup(self.cache.maps(self.envoy.scopes, needs), name)) is not None
            and self._refused(needs, needed)
            for needs, name in target.needs
        )

    def _check_ends(self) -> None:
        anything_refused = False
        for kind, held in self.envoy.held.items():
            targets: dict[str, Resource] = {}
            for resources in reversed(self.cache.maps(self.envoy.scopes, kind)):
                targets.update(resources.items())
            if kind in {ENDPOINT, ROUTE}:
                wanted = self.envoy.asked.get(kind, set())
                targets = {name: each for name, each in targets.items() if name in wanted}
            refused = {name for name, each in targets.items() if self._refused(kind, each)}
            anything_refused |= bool(refused)
            for name, target in targets.items():
                if name not in refused:
                    assert held.get(name) == target, (kind, name)
                else:
                    before = held.get(name)
                    assert before is None or not read(before.body).partition("=")[2].startswith("bad")
            if not self.refuses and (self.delta or kind != ROUTE):
                assert held.keys() <= targets.keys(), kind
        session = self.envoy.talk.session
        assert session.settled
        if not anything_refused:
            for state in session.states.values():
                assert state.idle
                assert not state.quarantine
                assert not state.overlay
                assert not state.splits
            assert self.envoy.received == 0 or self._quiet()

    def _quiet(self) -> bool:
        return self.envoy.talk.poll() is None

    def teardown(self) -> None:
        self.settle()


@pytest.mark.parametrize(
    "examples", [100, pytest.param(2000, marks=[pytest.mark.heavy, pytest.mark.timeout(1800)])]
)
@pytest.mark.parametrize("refuses", [False, True], ids=["accepts", "refuses"])
@pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])
def test_a_client_ends_with_what_the_cache_has_for_it(*, delta: bool, refuses: bool, examples: int) -> None:
    chosen = type("Chosen", (Machine,), {"delta": delta, "refuses": refuses})
    run_state_machine_as_test(
        chosen,
        settings=settings(
            max_examples=examples,
            report_multiple_bugs=False,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
