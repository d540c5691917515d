"""A rollout as a state machine: `advance(plan, state, event) -> (state, actions)`. No clock, no I/O: time comes with the events.

    ACKNOWLEDGING ── all have it ──> BAKING ── did well for its time ──> the next stage, or COMPLETED
          │                            │
          └── refused, too slow, worse than the others, aborted ──> WITHDRAWN

ENDED is what somebody wrote again meanwhile: replaced by another rollout, or put back as it was.

Whoever restarts a control plane begins the stage anew that it was in: what was seen of it is not known any more. A stage is never left
forwards without all acknowledgements and its whole time, unless somebody promotes it, and says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from mesh.rollout import NoTraffic, Plan

NAMED = 5
"""Proxies that a reason names."""


class Phase(StrEnum):
    ACKNOWLEDGING = "acknowledging"
    BAKING = "baking"
    COMPLETED = "completed"
    WITHDRAWN = "withdrawn"
    ENDED = "ended"


OVER = frozenset({Phase.COMPLETED, Phase.WITHDRAWN, Phase.ENDED})


class Health(StrEnum):
    """`UNKNOWN`: too little was seen to tell."""

    GOOD = "good"
    BAD = "bad"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class State:
    """`stage`: its place in the plan. `since`: when the phase began; `acknowledged`: when the stage was last known to be acknowledged by
    all. `reason`: why it is over, in words. `idle`: whether a stage went on without traffic to be judged by.
    """

    stage: int
    phase: Phase
    since: float
    paused: bool = False
    reason: str = ""
    idle: bool = False

    @property
    def over(self) -> bool:
        return self.phase in OVER


@dataclass(frozen=True, slots=True)
class Looked:
    """What there is to see at `now`. `missing`: the proxies of the stage that have not acknowledged it; `refused`: why one refused it;
    `words`: why `health` is what it is.
    """

    now: float
    missing: tuple[str, ...] = ()
    refused: str = ""
    health: Health = Health.UNKNOWN
    words: str = ""


@dataclass(frozen=True, slots=True)
class Restarted:
    """The control plane has started again, or another replica took over."""

    now: float


@dataclass(frozen=True, slots=True)
class Promote:
    """Go on to the next stage at once, whatever was seen."""

    now: float
    by: str


@dataclass(frozen=True, slots=True)
class Abort:
    now: float
    by: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Pause:
    now: float
    by: str


@dataclass(frozen=True, slots=True)
class Resume:
    now: float
    by: str


Event = Looked | Restarted | Promote | Abort | Pause | Resume


@dataclass(frozen=True, slots=True)
class Admit:
    """The proxies of this stage, and of those before it, are to have the change."""

    stage: int


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Everybody is to have what was before."""

    reason: str


@dataclass(frozen=True, slots=True)
class Complete:
    """Everybody has the change, and it is nothing special any more."""


@dataclass(frozen=True, slots=True)
class Tell:
    """What an operator should read of it."""

    words: str


Action = Admit | Withdraw | Complete | Tell


def begin(now: float) -> tuple[State, tuple[Action, ...]]:
    return State(0, Phase.ACKNOWLEDGING, now), (Admit(0),)


def advance(plan: Plan, state: State, event: Event) -> tuple[State, tuple[Action, ...]]:
    """What is over stays over, whatever happens to it."""
    if state.over:
        return state, ()
    match event:
        case Restarted(now):
            # The same stage again: who was in it may have been told nothing yet, and what was seen of it is lost.
            return replace(state, phase=Phase.ACKNOWLEDGING, since=now), (Admit(state.stage),)
        case Promote(now, by):
            return _next(plan, replace(state, paused=False), now, f"promoted by {by}")
        case Abort(_, by, why):
            return _withdrawn(plan, state, f"aborted by {by}" + (f": {why}" if why else ""))
        case Pause(_, by):
            return replace(state, paused=True), (Tell(f"paused by {by}: it goes no further until resumed"),)
        case Resume(now, by):
            # Its time begins anew: nobody knows what the pause was for.
            return replace(state, paused=False, since=now), (Tell(f"resumed by {by}"),)
        case Looked():
            return _looked(plan, state, event)


def _looked(plan: Plan, state: State, seen: Looked) -> tuple[State, tuple[Action, ...]]:
    stage = plan.stages[state.stage]
    if seen.refused:
        return _withdrawn(plan, state, seen.refused)
    if seen.health is Health.BAD:
        return _withdrawn(plan, state, seen.words)
    if state.paused:
        return state, ()
    waited = seen.now - state.since
    if state.phase is Phase.ACKNOWLEDGING:
        if seen.missing:
            if waited >= plan.acknowledgements:
                return _withdrawn(plan, state, _late(seen.missing, plan.acknowledgements))
            return state, ()
        state = replace(state, phase=Phase.BAKING, since=seen.now)
        waited = 0.0
    if waited < stage.bake:
        return state, ()
    if seen.missing:  # of those that joined the stage, or were changed again, meanwhile
        if waited >= stage.bake + plan.acknowledgements:
            return _withdrawn(plan, state, _late(seen.missing, plan.acknowledgements))
        return state, ()
    if seen.health is Health.GOOD:
        return _next(plan, state, seen.now, seen.words)
    match plan.no_traffic:
        case NoTraffic.PROCEED:
            why = f"went on without having been judged: {seen.words}"
            return _next(plan, replace(state, idle=True), seen.now, why)
        case NoTraffic.WITHDRAW:
            return _withdrawn(plan, state, f"nothing to judge it by: {seen.words}")
        case NoTraffic.WAIT:
            if waited >= stage.bake + plan.patience:
                why = f"nothing to judge it by within {plan.patience:g} s beyond its time: {seen.words}"
                return _withdrawn(plan, state, why)
            return state, ()


def _next(plan: Plan, state: State, now: float, why: str) -> tuple[State, tuple[Action, ...]]:
    stage = state.stage + 1
    done = Tell(f"stage {stage} of {len(plan.stages)} ({plan.stages[state.stage]}) is done: {why}")
    if stage == len(plan.stages):
        return replace(state, phase=Phase.COMPLETED, since=now, reason=why), (done, Complete())
    return replace(state, stage=stage, phase=Phase.ACKNOWLEDGING, since=now), (done, Admit(stage))


def _withdrawn(plan: Plan, state: State, why: str) -> tuple[State, tuple[Action, ...]]:
    reason = f"withdrawn at stage {state.stage + 1} of {len(plan.stages)} ({plan.stages[state.stage]}): {why}"
    return replace(state, phase=Phase.WITHDRAWN, reason=reason), (Withdraw(reason),)


def _late(missing: tuple[str, ...], seconds: float) -> str:
    named = ", ".join(missing[:NAMED])
    more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
    return f"not acknowledged within {seconds:g} s by {named}{more}"
