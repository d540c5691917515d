"""The state machine of a rollout, and what holds of it whatever happens."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from mesh.rollout import NoTraffic, Plan, Stage
from meshwright.rollout.machine import (
    Abort,
    Action,
    Admit,
    Complete,
    Event,
    Health,
    Looked,
    Pause,
    Phase,
    Promote,
    Restarted,
    Resume,
    State,
    Tell,
    Withdraw,
    advance,
    begin,
)

PLAN = Plan((Stage(60, share=5), Stage(30, share=50)))


class Run:
    """A rollout, and all that it did."""

    def __init__(self, plan: Plan = PLAN) -> None:
        self.plan = plan
        self.state, first = begin(0.0)
        self.actions: list[Action] = list(first)

    def say(self, event: Event) -> tuple[Action, ...]:
        self.state, actions = advance(self.plan, self.state, event)
        self.actions += actions
        return actions

    def phase(self) -> Phase:
        return self.state.phase

    def look(
        self, now: float, health: Health = Health.GOOD, *, missing: tuple[str, ...] = (), refused: str = ""
    ) -> tuple[Action, ...]:
        return self.say(Looked(now, missing, refused, health, f"it is {health}"))


def test_the_last_stage_is_everybody() -> None:
    assert [str(each) for each in PLAN.stages] == ["5%", "50%", "100%"]
    assert PLAN.stages[-1].bake == 30
    assert len(Plan((Stage(1, share=100),)).stages) == 1


def test_a_good_change_goes_through_all_stages() -> None:
    run = Run()
    assert run.look(1, missing=("default/a",)) == ()
    assert run.look(2) == ()
    assert run.phase() is Phase.BAKING
    assert run.look(61.9) == ()
    told, admitted = run.look(62)
    assert isinstance(told, Tell)
    assert "stage 1 of 3 (5%) is done" in told.words
    assert admitted == Admit(1)
    run.look(63)
    run.look(93)
    run.look(94)
    run.look(124)
    assert run.phase() is Phase.COMPLETED
    assert run.actions[-1] == Complete()


def test_what_does_badly_is_withdrawn_with_the_reason_also_before_all_have_it() -> None:
    run = Run()
    (action,) = run.look(1, Health.BAD, missing=("default/a",))
    assert action == Withdraw("withdrawn at stage 1 of 3 (5%): it is bad")
    assert run.state.over
    assert run.say(Promote(2, "ann")) == ()


def test_a_refusal_and_silence_withdraw_it() -> None:
    run = Run()
    (action,) = run.look(1, refused="default/a refused listener x: unknown filter")
    assert isinstance(action, Withdraw)
    assert "unknown filter" in action.reason
    run = Run()
    late = tuple(f"default/p{n}" for n in range(8))
    assert run.look(59, missing=late) == ()
    (action,) = run.look(60, missing=late)
    assert isinstance(action, Withdraw)
    assert "60 s by default/p0, default/p1, default/p2, default/p3, default/p4 and 3 more" in action.reason


def test_what_joins_a_stage_late_is_waited_for() -> None:
    run = Run()
    run.look(0)
    assert run.look(60, missing=("default/new",)) == ()
    assert Admit(1) in run.look(61)
    run = Run()
    run.look(0)
    (action,) = run.look(120, missing=("default/new",))
    assert isinstance(action, Withdraw)


def test_without_traffic() -> None:
    for how, at, expected in (
        (NoTraffic.PROCEED, 60.0, Phase.ACKNOWLEDGING),
        (NoTraffic.WITHDRAW, 60.0, Phase.WITHDRAWN),
        (NoTraffic.WAIT, 60.0, Phase.BAKING),
        (NoTraffic.WAIT, 60.0 + PLAN.patience, Phase.WITHDRAWN),
    ):
        run = Run(replace(PLAN, no_traffic=how))
        run.look(0)
        run.look(at, Health.UNKNOWN)
        assert run.state.phase is expected, how
    run = Run()
    run.look(0)
    run.look(60, Health.UNKNOWN)
    assert run.state.stage == 1
    assert run.state.idle


def test_paused_it_goes_nowhere_but_back() -> None:
    run = Run()
    run.look(0)
    run.say(Pause(1, "ann"))
    assert run.look(1000) == ()
    run.say(Resume(1000, "ann"))
    assert run.look(1059) == ()
    assert Admit(1) in run.look(1060)
    run.say(Pause(1061, "ann"))
    (action,) = run.look(1062, Health.BAD)
    assert isinstance(action, Withdraw)


def test_promote_and_abort() -> None:
    run = Run()
    assert Admit(1) in run.say(Promote(1, "ann"))
    (action,) = run.say(Abort(2, "bob", "wrong ticket"))
    assert action == Withdraw("withdrawn at stage 2 of 3 (50%): aborted by bob: wrong ticket")


def test_a_restart_begins_the_stage_anew() -> None:
    run = Run()
    run.look(0)
    run.look(60)
    run.look(61)
    assert run.say(Restarted(5)) == (Admit(1),)  # its clock may be another one
    assert run.state == State(1, Phase.ACKNOWLEDGING, 5)
    run.look(6)
    assert run.look(35) == ()
    assert Admit(2) in run.look(36)


STAGES = st.lists(
    st.builds(Stage, bake=st.floats(0, 100), share=st.sampled_from([1.0, 5.0, 50.0, 100.0])), max_size=4
)
PLANS = st.builds(
    Plan,
    stages=STAGES.map(tuple),
    acknowledgements=st.floats(0.1, 100),
    no_traffic=st.sampled_from(NoTraffic),
    patience=st.floats(0, 200),
)
STEPS = st.lists(
    st.tuples(
        st.floats(0, 50),
        st.sampled_from(["look", "look", "look", "look", "restart", "promote", "abort", "pause", "resume"]),
        st.booleans(),
        st.sampled_from(["", "", "", "refused"]),
        st.sampled_from(Health),
    ),
    max_size=60,
)


def _event(now: float, kind: str, health: Health, *, missing: bool, refused: str) -> Event:
    match kind:
        case "restart":
            return Restarted(now)
        case "promote":
            return Promote(now, "ann")
        case "abort":
            return Abort(now, "ann")
        case "pause":
            return Pause(now, "ann")
        case "resume":
            return Resume(now, "ann")
    return Looked(now, ("default/a",) if missing else (), refused, health, "words")


@given(PLANS, STEPS)
def test_one_stage_after_the_other_none_without_acknowledgement_and_its_time_and_there_is_an_end(
    plan: Plan, steps: list[tuple[float, str, bool, str, Health]]
) -> None:
    state, actions = begin(0.0)
    now, entered, acknowledged = 0.0, 0.0, False
    for pause, kind, missing, refused, health in steps:
        now += pause
        event = _event(now, kind, health, missing=missing, refused=refused)
        before = state
        state, actions = advance(plan, state, event)
        admitted = [each.stage for each in actions if isinstance(each, Admit)]
        assert len(admitted) <= 1  # never two stages at once
        if before.over:
            assert (state, actions) == (before, ())
            continue
        acknowledged = acknowledged or (isinstance(event, Looked) and not event.missing)
        went_on = state.stage > before.stage or state.phase is Phase.COMPLETED
        if went_on:
            assert state.stage <= before.stage + 1
            if not isinstance(event, Promote):
                assert isinstance(event, Looked)
                assert acknowledged
                assert not event.missing
                assert not event.refused
                assert now - entered >= plan.stages[before.stage].bake
                assert event.health is not Health.BAD
                assert not before.paused
        else:
            assert state.stage == before.stage
            assert admitted in ([], [state.stage])
        assert (state.phase is Phase.WITHDRAWN) == any(isinstance(each, Withdraw) for each in actions)
        assert (state.phase is Phase.COMPLETED) == any(isinstance(each, Complete) for each in actions)
        if went_on or isinstance(event, Restarted):
            entered, acknowledged = now, False
    # Whatever it has come to, whether proxies answer or not: it ends, unless somebody has paused it.
    if state.paused:
        state, _ = advance(plan, state, Resume(now, "ann"))
    silent = len(steps) % 2 == 0
    for _ in range(3 * len(plan.stages)):
        now += 10_000
        state, _ = advance(plan, state, Looked(now, ("default/a",) if silent else ()))
    assert state.over
