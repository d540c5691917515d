"""Which changes of documents go out by stages, whom they concern, and how a rollout is kept."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mesh.events import Declared, Event, SourceSnapshot, SourceUpdate
from mesh.names import Key
from mesh.rollout import POINTS, Plan, RolloutPolicy, Stage
from mesh.state import MeshState
from mesh.targeting import TargetRef
from meshwright.rollout import asking
from meshwright.rollout.changes import changed, settle
from meshwright.rollout.keeping import ENDED, FileRecords, shortened
from meshwright.rollout.machine import Phase
from meshwright.rollout.reach import Concerned, concerned, has, thresholds
from meshwright.rollout.record import Asked, Kept, Rollout, Staged, encode
from tests.support.builders import TRUST_DOMAIN, a_key, a_proxy, a_service, a_workload
from tests.support.policy_documents import declared

PLAN = Plan((Stage(1, share=50),))
API, TIMEOUT = a_key("api"), ("TimeoutPolicy", a_key("api"))
MESH_WIDE = RolloutPolicy(a_key("all"), PLAN, (TargetRef.mesh(),))


def a_timeout(request: str, name: str = "api", service: str = "api") -> Declared:
    (made,) = declared(
        f"apiVersion: meshwright.dev/v1alpha1\nkind: TimeoutPolicy\nmetadata: {{name: {name}}}\n"
        f"spec: {{targetRefs: [{{kind: Service, name: {service}}}], request: {request}}}\n"
    )
    assert isinstance(made, Declared)
    return made


def a_state(*values: Declared) -> MeshState:
    workloads = (a_proxy("api-1", uses=()), a_proxy("web-1", sidecar=15102, uses=["api"]), a_workload("db-1"))
    services = (a_service("api"), a_service("web"), a_service("db"))
    return MeshState(TRUST_DOMAIN).apply(SourceSnapshot("files", services, workloads, values))[0]


def put(*values: Declared) -> SourceUpdate:
    return SourceUpdate("files", declared=values)


def begun(state: MeshState, event: Event, *going: Rollout) -> Rollout:
    (made,) = settle(state, changed(state, event), going, (MESH_WIDE,), (), 100.0).new
    return made


def test_what_an_event_changes() -> None:
    state = a_state(a_timeout("1s"))
    (staged,) = changed(state, put(a_timeout("2s")))
    assert staged.name == TIMEOUT
    assert (staged.before.value, staged.after.value) == (a_timeout("1s"), a_timeout("2s"))
    assert not changed(state, put(a_timeout("1s")))
    (gone,) = changed(state, SourceUpdate("files", removed_declared=(TIMEOUT,)))
    assert gone.after.value is None
    (also,) = changed(state, SourceSnapshot("files"))
    assert also == gone


def test_the_first_word_of_a_source_is_no_change() -> None:
    assert not changed(MeshState(TRUST_DOMAIN), SourceSnapshot("files", declared=(a_timeout("1s"),)))


def test_what_another_source_has_already_changes_nothing() -> None:
    state = replace(a_state(a_timeout("1s")), order=("files", "store"))
    state, _ = state.apply(SourceSnapshot("store"))
    assert not changed(state, SourceUpdate("store", declared=(a_timeout("2s"),)))
    (gone,) = changed(
        state.apply(SourceUpdate("store", declared=(a_timeout("2s"),)))[0],
        SourceUpdate("files", removed_declared=(TIMEOUT,)),
    )
    assert (gone.after.source, gone.after.value) == ("store", a_timeout("2s"))


def test_the_nearest_policy_counts_and_what_was_asked_for_counts_more() -> None:
    state = a_state()
    near = RolloutPolicy(a_key("near"), Plan((Stage(9, share=1),)), (TargetRef.service(API),))
    other = RolloutPolicy(a_key("a"), PLAN, (TargetRef.of_namespace("other"),), frozenset({"HTTPRoute"}))
    documents = changed(state, put(a_timeout("1s")))

    def by(*policies: RolloutPolicy, asked: tuple[Asked, ...] = ()) -> list[str]:
        return [each.by for each in settle(state, documents, (), policies, asked, 0.0).new]

    assert by(other) == []
    assert by(other, MESH_WIDE) == ["RolloutPolicy default/all"]
    assert by(MESH_WIDE, near) == ["RolloutPolicy default/near"]
    assert by(near, asked=(Asked(frozenset({TIMEOUT}), PLAN, "ann", 0.0),)) == ["ann"]


def test_a_second_write_replaces_the_first_and_begins_at_the_first_stage() -> None:
    state = a_state(a_timeout("1s"))
    first = begun(state, put(a_timeout("2s"), a_timeout("3s", "db", "db")))
    state, _ = state.apply(put(a_timeout("2s"), a_timeout("3s", "db", "db")))
    found = settle(state, changed(state, put(a_timeout("4s"))), (first,), (), (), 200.0)
    (second,) = found.new
    assert found.ended == {first.id: "replaced: TimeoutPolicy default/api changed again"}
    assert second.plan == first.plan
    api, db = second.documents
    assert (api.before.value, api.after.value) == (a_timeout("1s"), a_timeout("4s"))
    assert (db.before.value, db.after.value) == (None, a_timeout("3s", "db", "db"))


def test_what_is_told_again_is_no_change_and_what_is_put_back_ends_it() -> None:
    state = a_state(a_timeout("1s"))
    first = begun(state, put(a_timeout("2s")))
    again = settle(state, changed(state, put(a_timeout("2s"))), (first,), (MESH_WIDE,), (), 200.0)
    assert (again.new, again.ended, again.kept) == ((), {}, (first,))
    state, _ = state.apply(put(a_timeout("2s")))
    back = settle(state, changed(state, put(a_timeout("1s"))), (first,), (MESH_WIDE,), (), 200.0)
    assert back.ended == {first.id: "TimeoutPolicy default/api was put back as it was"}
    assert not back.new


def test_one_of_two_that_is_put_back_leaves_the_other() -> None:
    state = a_state(a_timeout("1s"), a_timeout("1s", "db", "db"))
    event = put(a_timeout("2s"), a_timeout("2s", "db", "db"))
    first = begun(state, event)
    state, _ = state.apply(event)
    found = settle(state, changed(state, put(a_timeout("1s"))), (first,), (MESH_WIDE,), (), 200.0)
    assert not found.ended
    assert [each.name[1].name for each in found.kept[0].documents] == ["db"]
    assert found.kept[0].id == first.id


def test_whom_a_change_concerns() -> None:
    state = a_state()
    staged = changed(state, put(a_timeout("1s")))
    assert concerned(state, staged) == Concerned(callers=frozenset({a_key("web-1")}))
    (access,) = declared(
        "apiVersion: meshwright.dev/v1alpha1\nkind: AccessPolicy\nmetadata: {name: api}\n"
        "spec: {targetRefs: [{kind: Service, name: api}], action: allow, rules: [{from: [{service: web}]}]}\n"
    )
    after, _ = state.apply(put(access))
    found = concerned(after, changed(state, put(access)))
    assert found == Concerned(callees=frozenset({a_key("api-1")}))


def test_who_has_it() -> None:
    state = a_state()
    plan = Plan((Stage(1, labels=(("track", "canary"),)), Stage(1, zones=("a",)), Stage(1, share=50)))
    rollout = Rollout.of(changed(state, put(a_timeout("1s"))), plan, "ann", 0.0)
    canary = replace(a_workload("web-9"), labels=(("track", "canary"),))
    key = Key("default", "web-9")
    assert not has(rollout, key, canary), "nobody has it yet"
    everybody = frozenset(a_key(f"web-{number}") for number in range(10))
    rollout = replace(rollout, thresholds=thresholds(plan, everybody))
    assert rollout.thresholds is not None
    assert rollout.thresholds[:2] == (0, 0)
    assert rollout.thresholds[-1] == POINTS
    assert has(rollout, key, canary)
    assert not has(rollout, key, a_workload("web-9"))
    assert not has(rollout, key, None)
    third = replace(rollout, state=replace(rollout.state, stage=2))
    assert sum(has(third, each, None) for each in everybody) == 5
    assert has(third, key, canary)
    last = replace(rollout, state=replace(rollout.state, stage=3))
    assert all(has(last, each, None) for each in everybody)
    withdrawn = replace(last, state=replace(last.state, phase=Phase.WITHDRAWN))
    assert not any(has(withdrawn, each, None) for each in everybody)


def test_a_rollout_is_read_as_it_was_written(tmp_path: Path) -> None:
    state = a_state(a_timeout("1s"))
    rollout = begun(state, put(a_timeout("2s"))).tell(5.0, "begun")
    rollout = replace(rollout, thresholds=(7, POINTS), having=3)
    asked = Asked(frozenset({TIMEOUT}), PLAN, "ann", 1.0)
    records = FileRecords(tmp_path)
    assert records.load() == Kept()
    kept = Kept((rollout,), (asked,), tuple((each.name, each.before) for each in rollout.documents))
    records.save(kept)
    assert records.load() == kept
    assert (tmp_path / "rollouts.json").stat().st_mode & 0o777 == 0o600
    (staged,) = records.load().rollouts[0].documents
    assert isinstance(staged, Staged)
    assert staged.before.value is not None
    assert staged.before.value.text == a_timeout("1s").text


def test_a_file_that_is_none_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "rollouts.json").write_text("{")
    assert FileRecords(tmp_path).load() == Kept()
    assert (tmp_path / "rollouts.json.corrupt").exists()


def test_a_document_that_cannot_be_read_any_more_costs_no_other(tmp_path: Path) -> None:
    """As after a version that reads a schema more strictly."""
    state = a_state(a_timeout("1s"), a_timeout("1s", "other", "other"))
    two = begun(state, put(a_timeout("2s"), a_timeout("2s", "other", "other")))
    over = replace(begun(state, put(a_timeout("3s"))), id="0ver", ended=1.0)
    only = replace(begun(state, put(a_timeout("4s"))), id="0nly")
    settled = tuple((each.name, each.after) for each in two.documents)
    file = tmp_path / "rollouts.json"
    file.write_bytes(encode(Kept((two, over, only), (), settled)))
    kept = json.loads(file.read_bytes())
    at = next(place for place, each in enumerate(kept["rollouts"][0]["documents"]) if each["name"] == "api")
    for spoiled in (
        kept["rollouts"][0]["documents"][at]["before"],
        kept["rollouts"][1]["documents"][0]["before"],
        kept["rollouts"][2]["documents"][0]["after"],
        kept["settled"][0]["version"],
    ):
        spoiled["text"] = spoiled["text"].replace("request", "unheard")
    kept["asked"] = [{"names": 5}]
    file.write_text(json.dumps(kept))
    read = FileRecords(tmp_path).load()
    assert [each.id for each in read.rollouts] == [two.id, "0nly"]
    (left,) = read.rollouts[0].documents
    assert left == two.staged(("TimeoutPolicy", a_key("other")))
    (held_back,) = read.rollouts[1].documents
    assert held_back.before == only.documents[0].before
    assert read.settled == settled[1:]
    assert len(read.lost) == 3
    (in_force,) = read.in_force
    assert two.id in in_force
    assert "TimeoutPolicy default/api" in in_force
    assert json.loads((tmp_path / "rollouts.json.unread").read_bytes()) == kept


def test_those_that_are_over_are_kept_for_a_while() -> None:
    state = a_state()
    one = begun(state, put(a_timeout("1s")))
    over = [replace(one, id=f"{number:08x}", started=number, ended=float(number)) for number in range(80)]
    kept = shortened([one, *over])
    assert len(kept) == ENDED + 1
    assert one in kept
    assert over[-1] in kept


@pytest.mark.parametrize(
    ("text", "stages"),
    [
        ("5%,50%,100%", ["5%", "50%", "100%"]),
        ("0.5%, 20%", ["0.5%", "20%", "100%"]),
        ("zone=a,label=track=canary,100%", ["zone a", "track=canary", "100%"]),
    ],
)
def test_stages_in_a_few_letters(text: str, stages: list[str]) -> None:
    plan = asking.plan(text, "30s")
    assert [str(each) for each in plan.stages] == stages
    assert {each.bake for each in plan.stages} == {30.0}


@pytest.mark.parametrize("text", ["", "5", "50%,5%", "101%", "0%", "zone=", "label=x", "5%,,6%"])
def test_stages_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="stage"):
        asking.plan(text)
