"""Moving the mesh from one root (or intermediate) to another while it runs: the state machine. Pure: no clock, no I/O.

    stable ──begin──> trusting ──> signing ──> retiring ──> stable
                          ^           │            │
                          └───────────┴── abort ───┘  (the goal is the generation before; the same stages lead back to it)

- trusting: the bundle has the roots of both generations; it lasts until every holder of a leaf has the goal's root.
- signing: leaves are of the goal's generation; it lasts until none of another is left, by renewal or by its end.
- retiring: the bundle has the goal's root alone; it lasts until every holder has taken that.

One rule carries all of it, abort included: **a step is taken only when every leaf that is still good permits it**. Hence nobody
is given a leaf that a peer's bundle does not verify, and nobody is shut out: who lags is waited for until it comes, or until
its last leaf has ended, which is the day from which it would have to join again anyway. Why this protocol: docs/adr/0005-root-rotation.md.

The caller's duty, for the steps to survive a crash at any point: put a state on disk before anything of it is seen from outside
(`Action`), and a leaf into the ledger before it is handed out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum, StrEnum, auto
from typing import Protocol, TypeAlias

from ca.authority import Authority, AuthorityStatus
from ca.errors import CannotRotate

RootId: TypeAlias = str
"""SHA-256 of a root certificate (DER), in hexadecimal."""


class Stage(StrEnum):
    STABLE = "stable"
    TRUSTING = "trusting"
    SIGNING = "signing"
    RETIRING = "retiring"


class Leftovers(StrEnum):
    """What is to become of the files of the generation that a rotation was to move to, now that it is over."""

    KEEP = "keep"
    DROP = "drop"


class Holder(StrEnum):
    """Who has the key of a leaf: each has a trust bundle of its own."""

    AGENT = "agent"
    ENVOY = "envoy"
    UNRECORDED = "unrecorded"
    """Leaves that were issued before there was a ledger, or while it was lost: nobody knows to whom."""


class Action(Enum):
    """What a new state asks of the shell, once it is on disk. Each may be done again after a crash."""

    PUBLISH = auto()
    """Give everybody the state's bundle; the control plane's own doors first."""
    SIGN = auto()
    """Sign with the state's generation: renew the control plane's certificate, and everybody's leaf."""
    TIDY = auto()
    """See to the `leftovers`."""


class Lack(StrEnum):
    """What a leaf's holder is waited for."""

    ROOT = "has not taken the new root"
    LEAF = "has a certificate of the authority that is to go"
    RETIREMENT = "has not dropped the old root"


@dataclass(frozen=True, slots=True)
class Generation:
    """A root and an intermediate under it. The intermediate may renew itself, which changes nothing here."""

    number: int
    root: RootId


@dataclass(frozen=True, slots=True)
class Leaf:
    """A certificate that is good until `not_after`, and the trust bundle of whoever has its key.

    `family` is shared by the leaves of one holder, each renewed from the one before. `held`: roots that the holder certainly has;
    `settled`: it has acknowledged the bundle as it stands now. `trust_domain`: that of its identity; empty where that is not known.
    """

    serial: int
    holder: Holder
    workload: str
    family: str
    generation: int
    not_after: datetime
    held: frozenset[RootId] = frozenset()
    settled: bool = False
    trust_domain: str = ""


@dataclass(frozen=True, slots=True)
class Lag:
    """A leaf that is waited for, and why."""

    leaf: Leaf
    lack: Lack


@dataclass(frozen=True, slots=True)
class Rotation:
    """The state. In `STABLE`, `base` signs and `next` is None.

    `goal` and `signing` are numbers of generations. `bundle` is what everybody is to trust, in the order of age. `since`: when the
    stage began. `by_hand`: it waits for `proceed` before signing and before retiring, until `cleared`.
    """

    stage: Stage
    base: Generation
    goal: int
    signing: int
    bundle: tuple[RootId, ...]
    since: datetime
    next: Generation | None = None
    by_hand: bool = False
    cleared: bool = False
    leftovers: Leftovers | None = None

    @property
    def aborting(self) -> bool:
        return self.next is not None and self.goal == self.base.number

    @property
    def target(self) -> Generation:
        """The generation that shall sign in the end."""
        return self.next if self.next is not None and self.goal == self.next.number else self.base


@dataclass(frozen=True, slots=True)
class Step:
    """A new state, and what it asks for."""

    rotation: Rotation
    actions: tuple[Action, ...]


def stable(base: Generation, now: datetime) -> Rotation:
    """Where everything begins."""
    return Rotation(Stage.STABLE, base, base.number, base.number, (base.root,), now)


def begin(rotation: Rotation, to: Generation, now: datetime, *, by_hand: bool = False) -> Step:
    """Set out for `to`. A new intermediate under the same root needs nobody's trust: leaves carry it with them.

    CannotRotate if a rotation goes on.
    """
    if rotation.stage is not Stage.STABLE:
        raise CannotRotate(
            f"a rotation goes on ({rotation.stage} since {rotation.since:%Y-%m-%d %H:%M:%S} UTC): wait for its end, "
            "or turn it back by `meshwright ca abort`"
        )
    state = replace(rotation, next=to, goal=to.number, leftovers=None)
    if to.root == rotation.base.root:
        return Step(_entering(replace(state, signing=to.number), Stage.SIGNING, now), (Action.SIGN,))
    state = replace(state, bundle=(rotation.base.root, to.root), by_hand=by_hand)
    return Step(_entering(state, Stage.TRUSTING, now), (Action.PUBLISH,))


def abort(rotation: Rotation, now: datetime) -> Step:
    """Turn back to `base`, from wherever it is. CannotRotate if nothing goes on, or it is on its way back already."""
    if rotation.next is None:
        raise CannotRotate("no rotation goes on: there is nothing to abort")
    if rotation.aborting:
        raise CannotRotate(
            "the rotation is being aborted already: `meshwright ca status` shows how far it is"
        )
    base = rotation.base
    state = replace(rotation, goal=base.number, by_hand=False)
    if base.root not in rotation.bundle:
        # Some may have dropped it already: they have to take it again before anything is signed under it.
        state = replace(state, bundle=(base.root, *rotation.bundle))
        return Step(_entering(state, Stage.TRUSTING, now), (Action.PUBLISH,))
    if rotation.signing != base.number:
        return Step(_entering(replace(state, signing=base.number), Stage.SIGNING, now), (Action.SIGN,))
    return Step(_entering(replace(state, bundle=(base.root,)), Stage.RETIRING, now), (Action.PUBLISH,))


def proceed(rotation: Rotation) -> Step:
    """The operator's word that the next stage may begin as soon as nobody lags. CannotRotate if none is asked for."""
    if not awaits_operator(rotation):
        raise CannotRotate(
            "no rotation waits for an operator: `meshwright ca status` shows what it waits for"
        )
    return Step(replace(rotation, cleared=True), ())


def awaits_operator(rotation: Rotation) -> bool:
    return rotation.by_hand and not rotation.cleared and rotation.stage in {Stage.TRUSTING, Stage.SIGNING}


def lagging(rotation: Rotation, leaves: Iterable[Leaf], now: datetime) -> list[Lag]:
    """Whom the stage waits for."""
    found = ((leaf, lack_of(rotation, leaf)) for leaf in leaves if leaf.not_after > now)
    return [Lag(leaf, lack) for leaf, lack in found if lack is not None]


def lack_of(rotation: Rotation, leaf: Leaf) -> Lack | None:
    """Why a leaf that is still good keeps `rotation` in its stage; None if it does not."""
    match rotation.stage:
        case Stage.TRUSTING if rotation.target.root not in leaf.held:
            return Lack.ROOT
        case Stage.SIGNING if leaf.generation != rotation.goal:
            return Lack.LEAF
        # The key of a root that never came to sign for good is destroyed: whoever keeps that root is in no danger.
        case Stage.RETIRING if not (leaf.settled or rotation.aborting):
            return Lack.RETIREMENT
        case _:
            return None


def advance(rotation: Rotation, leaves: Iterable[Leaf], now: datetime) -> Step | None:
    """The next stage, if its time has come. None: it has to wait, or nothing goes on."""
    if (
        rotation.stage is Stage.STABLE
        or awaits_operator(rotation)
        or any(leaf.not_after > now and lack_of(rotation, leaf) is not None for leaf in leaves)
    ):
        return None
    target = rotation.target
    match rotation.stage:
        case Stage.TRUSTING:
            return Step(
                _entering(replace(rotation, signing=target.number), Stage.SIGNING, now), (Action.SIGN,)
            )
        case Stage.SIGNING if rotation.bundle != (target.root,):
            return Step(
                _entering(replace(rotation, bundle=(target.root,)), Stage.RETIRING, now), (Action.PUBLISH,)
            )
        case _:
            leftovers = Leftovers.DROP if rotation.aborting else Leftovers.KEEP
            over = replace(rotation, base=target, next=None, by_hand=False, leftovers=leftovers)
            return Step(_entering(over, Stage.STABLE, now), (Action.TIDY,))


def restricted(leaf: Leaf, bundle: tuple[RootId, ...]) -> Leaf:
    """What is certain of its holder once `bundle` may be on its way to it."""
    return replace(leaf, held=leaf.held & frozenset(bundle), settled=False)


def acknowledged(leaf: Leaf, roots: frozenset[RootId], bundle: tuple[RootId, ...]) -> Leaf:
    """Its holder says that it uses `roots`, having taken everything that was sent to it so far; `bundle` is the present one."""
    return replace(leaf, held=roots & frozenset(bundle), settled=roots == frozenset(bundle))


def _entering(rotation: Rotation, stage: Stage, now: datetime) -> Rotation:
    return replace(rotation, stage=stage, since=now, cleared=False)


class RotatingAuthority(Authority, Protocol):
    """An authority whose roots can be rotated, as the shell of this machine sees it. It keeps the state with its keys.

    What it issues says of which `generation` it is; its `roots` are the state's bundle.
    """

    @property
    def rotation(self) -> Rotation: ...

    def status(self) -> AuthorityStatus: ...

    def root_ends(self, root: RootId) -> datetime:
        """When a root of the state's bundle ends."""
        ...

    async def prepare(self, *, root: bool) -> Generation:
        """Make the generation after the present one: a new root and an intermediate, or an intermediate alone. Nobody is shown them."""
        ...

    async def install(self, rotation: Rotation) -> None:
        """Put `rotation` on the disk, then trust and sign as it says. AuthorityError or OSError leaves the state before."""
        ...

    async def tidy(self) -> None:
        """See to the `leftovers` of the state."""
        ...
