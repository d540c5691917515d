"""Whatever comes in whatever order: nobody is given a leaf that a peer's bundle does not verify."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ca.errors import CannotRotate
from ca.ledger import Entry, Ledger
from ca.rotation import (
    Action,
    Generation,
    Holder,
    Lack,
    Leaf,
    Leftovers,
    Rotation,
    Stage,
    Step,
    abort,
    advance,
    awaits_operator,
    begin,
    lagging,
    proceed,
    stable,
)
from tests.support.ca_builders import START

OLD, NEW = Generation(1, "old"), Generation(2, "new")
LIFE = timedelta(seconds=20)


def a_leaf(serial: int = 1, generation: int = 1, *, held: str = "old", settled: bool = True) -> Leaf:
    return Leaf(
        serial,
        Holder.AGENT,
        "default/a",
        f"f{serial}",
        generation,
        START + LIFE,
        frozenset(held.split()),
        settled,
    )


def moved(rotation: Rotation, *leaves: Leaf, now: datetime = START) -> Rotation:
    step = advance(rotation, leaves, now)
    return rotation if step is None else step.rotation


def test_from_root_to_root() -> None:
    began = begin(stable(OLD, START), NEW, START)
    assert began.actions == (Action.PUBLISH,)
    trusting = began.rotation
    assert (trusting.stage, trusting.bundle, trusting.signing) == (Stage.TRUSTING, ("old", "new"), 1)
    assert moved(trusting, a_leaf()) is trusting
    signing = moved(trusting, a_leaf(held="old new"))
    assert (signing.stage, signing.bundle, signing.signing) == (Stage.SIGNING, ("old", "new"), 2)
    assert moved(signing, a_leaf(held="old new")) is signing
    retiring = moved(signing, a_leaf(generation=2, held="old new"))
    assert (retiring.stage, retiring.bundle, retiring.signing) == (Stage.RETIRING, ("new",), 2)
    assert moved(retiring, a_leaf(generation=2, settled=False)) is retiring
    over = moved(retiring, a_leaf(generation=2, held="new"))
    assert (over.stage, over.base, over.next, over.leftovers) == (Stage.STABLE, NEW, None, Leftovers.KEEP)


def test_who_lags_is_named_until_the_last_leaf_has_ended() -> None:
    trusting = begin(stable(OLD, START), NEW, START).rotation
    (lag,) = lagging(trusting, [a_leaf()], START)
    assert (lag.leaf.workload, lag.lack) == ("default/a", Lack.ROOT)
    assert lagging(trusting, [a_leaf()], START + LIFE) == []
    assert moved(trusting, a_leaf(), now=START + LIFE).stage is Stage.SIGNING


def test_an_intermediate_needs_nobodys_trust() -> None:
    step = begin(stable(OLD, START), Generation(2, "old"), START)
    assert step.actions == (Action.SIGN,)
    assert (step.rotation.stage, step.rotation.bundle) == (Stage.SIGNING, ("old",))
    over = moved(step.rotation, a_leaf(generation=2))
    assert (over.stage, over.base.number) == (Stage.STABLE, 2)


@pytest.mark.parametrize("what", ["root", "intermediate"])
@pytest.mark.parametrize("steps", [0, 1, 2])
def test_abort_returns_from_every_stage(steps: int, what: str) -> None:
    rotation = begin(stable(OLD, START), NEW if what == "root" else Generation(2, "old"), START).rotation
    for _ in range(steps):
        rotation = moved(rotation)
    if rotation.stage is Stage.STABLE:
        return
    rotation = abort(rotation, START).rotation
    assert rotation.aborting
    with pytest.raises(CannotRotate):
        abort(rotation, START)
    while rotation.stage is not Stage.STABLE:
        rotation = moved(rotation)
    assert (rotation.base, rotation.signing, rotation.bundle) == (OLD, 1, ("old",))
    assert rotation.leftovers is Leftovers.DROP


def test_when_the_old_root_was_being_dropped_abort_waits_until_it_is_taken_again() -> None:
    ledger = Ledger()
    ledger.issued(a_leaf(generation=2, held="old new"))
    rotation = begin(stable(OLD, START), NEW, START).rotation
    for _ in range(2):
        rotation = moved(rotation, *ledger.leaves())
    assert rotation.stage is Stage.RETIRING
    ledger.restricted(rotation.bundle)  # it is on its way: whether it was taken, nobody knows
    rotation = abort(rotation, START).rotation
    ledger.restricted(rotation.bundle)
    assert (rotation.stage, rotation.bundle, rotation.signing) == (Stage.TRUSTING, ("old", "new"), 2)
    assert moved(rotation, *ledger.leaves()) is rotation
    ledger.acknowledged("f1", frozenset(rotation.bundle), rotation.bundle)
    assert moved(rotation, *ledger.leaves()).signing == 1


def test_before_signing_abort_waits_for_nobody() -> None:
    """It is for want of an answer that one aborts."""
    silent = a_leaf(held="", settled=False)
    rotation = abort(begin(stable(OLD, START), NEW, START).rotation, START).rotation
    assert rotation.bundle == ("old",)
    assert moved(rotation, silent).stage is Stage.STABLE


def test_by_hand_it_asks_before_signing_and_before_the_old_root_goes() -> None:
    rotation = begin(stable(OLD, START), NEW, START, by_hand=True).rotation
    for stage in (Stage.TRUSTING, Stage.SIGNING):
        assert rotation.stage is stage
        assert awaits_operator(rotation)
        assert moved(rotation) is rotation
        rotation = moved(proceed(rotation).rotation)
    assert rotation.stage is Stage.RETIRING
    with pytest.raises(CannotRotate):
        proceed(rotation)


def test_one_at_a_time() -> None:
    with pytest.raises(CannotRotate, match="a rotation goes on"):
        begin(begin(stable(OLD, START), NEW, START).rotation, Generation(3, "third"), START)
    with pytest.raises(CannotRotate, match="nothing to abort"):
        abort(stable(OLD, START), START)


@dataclass
class Truth:
    """What a holder really has: what nobody but itself knows. `inbox`: what is on its way to it, in order."""

    name: str
    kind: Holder
    leaf: Leaf | None = None
    bundle: frozenset[str] = frozenset()
    inbox: deque[tuple[Leaf | None, tuple[str, ...]]] = field(default_factory=deque)
    connected: bool = False


class Mesh(RuleBasedStateMachine):
    """Agents and Envoys that answer, are silent, go and come; a control plane that crashes; an operator who aborts."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.entries: list[Entry] = []
        self.ledger = Ledger(journal=self.entries.append)
        self.rotation = stable(Generation(1, "root-1"), START)
        self.unpublished = False
        self.serial = 0
        self.holders = [
            Truth(f"{kind.value}-{n}", kind) for n in range(2) for kind in (Holder.AGENT, Holder.ENVOY)
        ]

    @initialize()
    def join_all(self) -> None:
        for holder in self.holders:
            self.join(holder)

    def issue(self, holder: Truth) -> Leaf:
        self.serial += 1
        delivered = holder.kind is Holder.ENVOY
        leaf = Leaf(
            self.serial,
            holder.kind,
            f"default/{holder.name}",
            holder.name,
            self.rotation.signing,
            self.now + LIFE,
            frozenset() if delivered else frozenset(self.rotation.bundle),
            not delivered,
        )
        self.ledger.issued(leaf)
        return leaf

    def join(self, holder: Truth) -> None:
        """A leaf and the bundle at once, as the first answer of a join or of a stream has them."""
        holder.leaf, holder.bundle = self.issue(holder), frozenset(self.rotation.bundle)
        holder.inbox.clear()
        holder.connected = True

    def good(self, holder: Truth) -> bool:
        return holder.leaf is not None and holder.leaf.not_after > self.now

    def root_of(self, leaf: Leaf) -> str:
        return f"root-{leaf.generation}"

    which = st.integers(0, 3)

    @rule(which=which)
    def connect(self, which: int) -> None:
        holder = self.holders[which]
        if not self.good(holder):
            self.join(holder)
        elif not holder.connected:
            holder.connected = True
            assert holder.leaf is not None
            if holder.kind is Holder.AGENT:
                self.ledger.confirmed(holder.leaf.serial)
            holder.inbox.append((None, self.rotation.bundle))

    @rule(which=which)
    def go(self, which: int) -> None:
        self.holders[which].connected = False
        self.holders[which].inbox.clear()

    @rule(which=which)
    def take(self, which: int) -> None:
        """It takes what was sent first; when it has taken everything it says so."""
        holder = self.holders[which]
        if not holder.connected or not holder.inbox:
            return
        leaf, bundle = holder.inbox.popleft()
        holder.leaf = leaf or holder.leaf
        holder.bundle = frozenset(bundle)

    @rule(which=which)
    def answer(self, which: int) -> None:
        holder = self.holders[which]
        if holder.connected and not holder.inbox and holder.leaf is not None and self.good(holder):
            self.ledger.confirmed(holder.leaf.serial)
            self.ledger.acknowledged(holder.name, holder.bundle, self.rotation.bundle)

    @rule(which=which, arrives=st.booleans())
    def renew(self, which: int, arrives: bool) -> None:
        holder = self.holders[which]
        if not holder.connected or not self.good(holder):
            return
        leaf = self.issue(holder)
        if holder.kind is Holder.ENVOY:
            holder.inbox.append((leaf, self.rotation.bundle))
        elif arrives:
            # The answer of a call of its own; what is in its inbox is taken after it.
            holder.leaf, holder.bundle = leaf, frozenset(self.rotation.bundle)

    @rule(but=which, renewed=st.booleans())
    def most_answer(self, but: int, renewed: bool) -> None:
        """All, or all but one."""
        for which in range(len(self.holders)):
            if which != but or renewed:
                self.connect(which)
                if renewed:
                    self.renew(which, arrives=True)
                while self.holders[which].inbox:
                    self.take(which)
                self.answer(which)

    @rule(seconds=st.integers(1, 12))
    def pass_time(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)
        self.ledger.expire(self.now)

    def make(self, step: Step) -> None:
        if Action.PUBLISH in step.actions:
            self.ledger.restricted(step.rotation.bundle)
        self.rotation = step.rotation
        self.unpublished = self.unpublished or Action.PUBLISH in step.actions

    @precondition(lambda self: self.unpublished)
    @rule()
    def publish(self) -> None:
        for holder in self.holders:
            if holder.connected:
                holder.inbox.append((None, self.rotation.bundle))
        self.unpublished = False

    @precondition(lambda self: self.rotation.stage is Stage.STABLE and not self.unpublished)
    @rule()
    def rotate(self) -> None:
        number = self.rotation.base.number + 1
        self.make(begin(self.rotation, Generation(number, f"root-{number}"), self.now))

    @precondition(lambda self: self.rotation.stage is not Stage.STABLE)
    @rule()
    def go_on(self) -> None:
        """One stage further, if nobody keeps it: without that, few histories would come far."""
        self.publish()
        self.most_answer(0, renewed=True)
        self.step()

    @precondition(lambda self: self.rotation.next is not None and not self.rotation.aborting)
    @rule()
    def turn_back(self) -> None:
        self.make(abort(self.rotation, self.now))

    @precondition(lambda self: not self.unpublished)
    @rule()
    def step(self) -> None:
        made = advance(self.rotation, self.ledger.leaves(), self.now)
        if made is not None:
            self.make(made)

    @rule()
    def crash(self) -> None:
        """All that is left is on the disk. What was on its way is lost, and everybody comes back when they like."""
        self.ledger = Ledger(self.entries, self.entries.append)
        self.unpublished = False
        for holder in self.holders:
            holder.connected = False
            holder.inbox.clear()

    @invariant()
    def everybody_verifies_everybody(self) -> None:
        good = [holder for holder in self.holders if self.good(holder)]
        for holder in good:
            assert holder.leaf is not None
            shown = self.root_of(holder.leaf)
            assert shown in self.rotation.bundle, f"the control plane shuts {holder.name} out"
            for peer in good:
                assert shown in peer.bundle, f"{peer.name} does not verify {holder.name}"
            signs = f"root-{self.rotation.signing}"
            assert signs in holder.bundle, f"{holder.name} does not verify the control plane"

    def teardown(self) -> None:
        """When everybody comes and answers, it comes to an end."""
        for _ in range(8):
            self.publish()
            for which in range(len(self.holders)):
                self.connect(which)
                self.renew(which, arrives=True)
                while self.holders[which].inbox:
                    self.take(which)
                self.answer(which)
            self.step()
            self.everybody_verifies_everybody()
        assert self.rotation.stage is Stage.STABLE
        assert self.rotation.bundle == (self.rotation.base.root,)


TestMesh = Mesh.TestCase
TestMesh.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
