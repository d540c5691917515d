"""Whatever a client asks for by name beside everything, and whatever is given at once or on request meanwhile: it ends with both."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from tests.support.xds_talk import DeltaTalk, Said, a_resource
from xds.cache import ResourceCache, ScopeChange
from xds.on_request import OnRequest
from xds.resource import Resource
from xds.types import CLUSTER

NAMES = ("a", "b", "c", "d")
NAME = st.sampled_from(NAMES)
WORLDS = st.dictionaries(NAME, st.tuples(st.sampled_from("12"), st.booleans()))
"""By name, the content, and whether it is given on request."""
VIEWS = st.sampled_from(
    ["whole", OnRequest("whole"), OnRequest("whole", frozenset("a")), OnRequest("whole", frozenset("bd"))]
)


class Machine(RuleBasedStateMachine):
    """A client that always wants everything, and sometimes more."""

    def __init__(self) -> None:
        super().__init__()
        self.cache = ResourceCache()
        self.cache.publish([ScopeChange("whole")])
        self.cache.open()
        self.world: dict[str, Resource] = {}
        self.view: OnRequest | str = OnRequest("whole")
        self.named: set[str] = set()
        self.held: dict[str, str] = {}
        self.versions: dict[str, str] = {}
        self.unanswered: list[Said] = []
        self.talk = DeltaTalk(self.cache, self.view).ask(CLUSTER)

    @rule(world=WORLDS)
    def publish(self, world: dict[str, tuple[str, bool]]) -> None:
        self.world = {
            name: replace(a_resource(CLUSTER, name, content), on_request=aside)
            for name, (content, aside) in world.items()
        }
        self.cache.publish([ScopeChange("whole", put=tuple(self.world.values()), replace=True)])

    @rule(name=NAME)
    def ask(self, name: str) -> None:
        """Also for what it asked for before, as a client does that lost it."""
        self.named.add(name)
        self.talk.ask(CLUSTER, name)

    @rule(name=NAME)
    def leave(self, name: str) -> None:
        """Who leaves a name forgets what it held, and is told anew what of it is a part of everything."""
        if name in self.named:
            self.named.discard(name)
            self.held.pop(name, None)
            self.versions.pop(name, None)
            self.talk.ask(CLUSTER, leave=[name])

    @rule(view=VIEWS)
    def rescope(self, view: OnRequest | str) -> None:
        self.view = view
        self.talk.session.rescope((view,))

    @rule()
    def reconnect(self) -> None:
        self.talk.session.close()
        self.unanswered.clear()
        self.talk = DeltaTalk(self.cache, self.view)
        self.talk.ask(CLUSTER, "*", *sorted(self.named), holds=dict(self.versions))

    @rule()
    def receive(self) -> None:
        said = self.talk.poll()
        if said is not None:
            self._take(said)
            self.unanswered.append(said)

    @rule()
    def answer(self) -> None:
        if self.unanswered:
            self.talk.ack(self.unanswered.pop(0))

    @rule()
    def settle(self) -> None:
        while self.unanswered:
            self.answer()
        while (said := self.talk.poll() or self.talk.poll_later()) is not None:
            self._take(said)
            self.talk.ack(said)
        at_once = self.view.at_once if isinstance(self.view, OnRequest) else frozenset(NAMES)
        assert self.held == {
            name: f"{name}={content(each)}"
            for name, each in self.world.items()
            if not each.on_request or name in at_once or name in self.named
        }

    def teardown(self) -> None:
        self.settle()

    def _take(self, said: Said) -> None:
        self.held.update(said.bodies)
        self.versions.update(said.versions)
        for name in said.removed:
            self.held.pop(name, None)
            self.versions.pop(name, None)


def content(resource: Resource) -> str:
    return resource.body.decode(errors="replace").rpartition("=")[2]


def test_a_client_ends_with_everything_and_what_it_named() -> None:
    run_state_machine_as_test(
        Machine, settings=settings(max_examples=150, stateful_step_count=25, deadline=None)
    )
