from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from documents.errors import Conflict, Dangling, Malformed
from documents.parsing import ParsedFile, parse
from documents.sets import DocumentSet
from mesh.names import Key
from tests.support.builders import a_service, a_workload, service_document, workload_document


def a_file(name: str, *documents: str) -> ParsedFile:
    return parse(name, "".join(documents).encode())


def a_set(*files: ParsedFile) -> DocumentSet:
    return DocumentSet().with_files(files)


def held(documents: DocumentSet) -> list[str]:
    return [f"{each.where.file} {each.key.name}" for each in documents.documents]


API = a_file("api.yaml", service_document("api"))
API_1 = a_file("api-1.yaml", workload_document("api-1"))


def test_a_snapshot_holds_everything_with_its_origin() -> None:
    snapshot = a_set(API_1, API).to_snapshot("files")
    assert snapshot.source == "files"
    assert snapshot.services == (a_service("api"),)
    assert snapshot.workloads == (a_workload("api-1", sidecar=15101),)
    assert snapshot.services[0].origin == ("api.yaml#1 Service default/api",)


def test_where_others_declare_services_too_a_workload_may_serve_theirs() -> None:
    found = DocumentSet(alone=False).with_files([API_1])
    assert held(found) == ["api-1.yaml api-1"]
    assert found.errors == ()
    assert [type(each) for each in a_set(API_1).errors] == [Dangling]


def test_a_bad_file_keeps_what_it_held_and_the_others_are_taken() -> None:
    good = a_set(API, API_1)
    new = good.with_files([a_file("api.yaml", "a: ["), a_file("web.yaml", service_document("web"))])
    assert held(new) == ["api-1.yaml api-1", "api.yaml api", "web.yaml web"]
    (error,) = new.errors
    assert isinstance(error, Malformed)
    assert error.where.file == "api.yaml"
    assert new.with_files([API]).errors == ()


def test_a_file_that_was_never_right_contributes_nothing() -> None:
    documents = a_set(API, a_file("web.yaml", service_document("web"), "---\na: ["))
    assert held(documents) == ["api.yaml api"]
    assert len(documents.errors) == 1


def test_a_file_that_goes_takes_its_documents_and_errors_with_it() -> None:
    documents = (
        a_set(API, API_1).with_files([a_file("api.yaml", "a: [")]).with_files([], ["api.yaml", "api-1.yaml"])
    )
    assert documents == DocumentSet()


def test_who_held_a_name_keeps_it_and_the_newcomer_is_refused_whole() -> None:
    newcomer = a_file("a.yaml", service_document("other"), service_document("api"))
    documents = a_set(API).with_files([newcomer])
    assert held(documents) == ["api.yaml api"]
    (error,) = documents.errors
    assert isinstance(error, Conflict)
    assert str(error) == (
        "a.yaml:6, document 2 (Service default/api): Service default/api is declared already, by api.yaml:1, "
        "document 1 (Service default/api). Remove or rename one of the two"
    )
    assert held(documents.with_files([], ["api.yaml"])) == ["a.yaml other", "a.yaml api"]


def test_among_newcomers_the_first_by_name_wins() -> None:
    documents = a_set(a_file("b.yaml", service_document("x")), a_file("a.yaml", service_document("x")))
    assert held(documents) == ["a.yaml x"]


def test_a_holder_keeps_a_name_though_both_files_change() -> None:
    old = a_set(a_file("a.yaml", service_document("x")), a_file("b.yaml", service_document("y")))
    new = old.with_files(
        [
            a_file("a.yaml", service_document("x"), service_document("y")),
            a_file("b.yaml", service_document("y"), service_document("w")),
        ]
    )
    assert held(new) == ["a.yaml x", "b.yaml y", "b.yaml w"]
    assert [error.where.file for error in new.errors] == ["a.yaml"]


def test_what_a_refused_file_falls_back_to_is_not_given_away() -> None:
    old = a_set(a_file("b.yaml", service_document("x")))
    # a.yaml takes what b.yaml gives up; but b.yaml's new content cannot be taken.
    new = old.with_files(
        [a_file("a.yaml", service_document("x")), a_file("b.yaml", workload_document("nobody-1"))]
    )
    assert held(new) == ["b.yaml x"]
    assert sorted(error.where.file for error in new.errors) == ["a.yaml", "b.yaml"]


def test_a_document_moves_between_files_at_once_or_in_two_steps() -> None:
    old = a_set(a_file("a.yaml", service_document("x"), service_document("y")))
    without, with_y = a_file("a.yaml", service_document("x")), a_file("b.yaml", service_document("y"))
    moved = ["a.yaml x", "b.yaml y"]
    assert held(old.with_files([without, with_y])) == moved
    assert held(old.with_files([with_y])) == ["a.yaml x", "a.yaml y"]
    assert held(old.with_files([with_y]).with_files([without])) == moved


def test_two_services_of_one_address() -> None:
    address = a_service("api").virtual_address
    other = a_file("b.yaml", service_document("b", f"ports: [{{name: a, port: 1}}], address: {address}"))
    documents = a_set(API, other)
    (error,) = documents.errors
    assert isinstance(error, Conflict)
    assert f"its virtual address {address} is that of service default/api already (api.yaml:1" in str(error)
    assert held(documents) == ["api.yaml api"]


def test_a_workload_of_a_service_that_nobody_declares() -> None:
    documents = a_set(API_1)
    (error,) = documents.errors
    assert isinstance(error, Dangling)
    assert (
        "api-1.yaml:5, document 1 (Workload default/api-1), spec.services[0]: no document declares the service default/api. "
        in str(error)
    )
    assert held(documents) == []
    declared = documents.with_files([API])
    assert held(declared) == ["api-1.yaml api-1", "api.yaml api"]
    assert declared.errors == ()


def test_a_service_that_goes_leaves_its_workloads_in_force_and_told() -> None:
    documents = a_set(API, API_1).with_files([], ["api.yaml"])
    assert held(documents) == ["api-1.yaml api-1"]
    assert [type(error) for error in documents.errors] == [Dangling]
    assert documents.with_files([API]).errors == ()


def test_a_port_that_the_service_does_not_have() -> None:
    workload = a_file(
        "w.yaml",
        workload_document("api-1", "services: [api], address: 10.0.0.1, ports: [{name: htpt, app: 1}]"),
    )
    (error,) = a_set(API, workload).errors
    assert str(error) == (
        "w.yaml:5, document 1 (Workload default/api-1), spec.ports[0].name: no port of default/api is called htpt. "
        "Did you mean http? Known here: http"
    )


def test_what_is_probably_not_meant_is_a_warning() -> None:
    accounts = "ports: [{name: http, port: 80}, {name: x, port: 81}], serviceAccounts: [api]"
    workload = (
        "services: [api], serviceAccount: other, address: 10.0.0.1, meshed: true, "
        "uses: [nobody, {service: api, localPort: 9100}, {service: api, port: y, localPort: 9101}]"
    )
    documents = a_set(
        a_file("s.yaml", service_document("api", accounts)),
        a_file("w.yaml", workload_document("api-1", workload)),
    )
    assert documents.errors == ()
    assert [(each.where.path, each.reason) for each in documents.warnings] == [
        ("spec.uses[0]", "no document declares the service default/nobody"),
        ("spec.uses[1].localPort", "default/api has 2 ports, so local port 9100 leads to none"),
        ("spec.uses[2].port", "no port of default/api is called y"),
        (
            "spec.services[0]",
            "none of the ports of default/api is among spec.ports, so this workload gets none of its traffic",
        ),
        ("spec.serviceAccount", "callers of default/api accept api only, so they refuse other"),
    ]


def test_a_sidecar_s_port_for_datagrams_is_told_to_have_no_effect() -> None:
    ports = "ports: [{name: a, port: 80}, {name: b, port: 53, protocol: udp}]"
    served = "ports: [{name: a, app: 1, sidecar: 11}, {name: b, app: 2, sidecar: 12}]"
    workload = f"services: [api], address: 10.0.0.1, meshed: true, {served}"
    documents = a_set(
        a_file("s.yaml", service_document("api", ports)),
        a_file("w.yaml", workload_document("api-1", workload)),
    )
    assert [(each.where.path, each.reason) for each in documents.warnings] == [
        (
            "spec.ports[1].sidecar",
            "no effect: default/api speaks udp there, and sidecars take no datagrams",
        )
    ]


def test_a_reference_that_leads_nowhere_is_told_with_its_own_line() -> None:
    text = (
        workload_document("api-1", "\n  services:\n  - apis\n  , address: 10.0.0.1")
        .replace("{\n", "\n")
        .replace(
            "\n  , address: 10.0.0.1}",
            "\n  address: 10.0.0.1\n  uses:\n  - web\n  - {service: stor,\n     port: x}",
        )
    )
    documents = a_set(
        a_file("w.yaml", text), a_file("s.yaml", service_document("apis"), service_document("web"))
    )
    assert [str(each.where).partition(",")[0] for each in documents.warnings] == ["w.yaml:11", "w.yaml:7"]
    (error,) = a_set(a_file("w.yaml", text)).errors
    assert str(error).startswith("w.yaml:7, document 1 (Workload default/api-1), spec.services[0]: ")


def test_a_warning_of_an_older_version_says_so() -> None:
    """Its lines are those of the version that is in force, not those of the file as it is now."""
    old = a_file("w.yaml", workload_document("w", "address: 10.0.0.1, uses: [nobody]"))
    documents = a_set(old).with_files([a_file("w.yaml", "a: [")])
    assert len(documents.errors) == 1
    (warning,) = map(str, documents.warnings)
    assert warning.startswith(
        "w.yaml:5, document 1 (Workload default/w), spec.uses[0] (in force, from the last good version): no document"
    )
    assert "last good" not in str(documents.with_files([old]).warnings[0])


def a_sidecar(name: str, ports: str = "", more: str = "", address: str = "127.0.0.1") -> str:
    return workload_document(
        name, f"address: {address}, meshed: true, services: [api], ports: [{ports}]{more}"
    )


def test_two_sidecars_of_one_port_are_told_of_with_both_documents() -> None:
    """An address is a host: the sidecar that comes second could not listen."""
    first = a_file("a.yaml", a_sidecar("api-1", "{name: http, app: 1, sidecar: 15101}"))
    second = a_file(
        "b.yaml", a_sidecar("api-2", "{name: http, app: 2, sidecar: 15101}", ", outboundPort: 15002")
    )
    documents = a_set(API, first, second)
    (warning,) = documents.warnings
    assert str(warning) == (
        "b.yaml:5, document 1 (Workload default/api-2), spec.ports[0].sidecar: the sidecar of Workload default/api-1 has "
        "port 15101 of 127.0.0.1 already (a.yaml:1, document 1 (Workload default/api-1)). Only one of the two sidecars can "
        "listen there: give one of them another port, or correct its address"
    )
    # It ends with its cause, whichever of the two files changes, and comes back with it.
    other = a_file("a.yaml", a_sidecar("api-1", "{name: http, app: 1, sidecar: 15103}"))
    assert documents.with_files([other]).warnings == ()
    assert documents.with_files([], ["a.yaml"]).warnings == ()
    assert documents.with_files([], ["a.yaml"]).with_files([first]).warnings == documents.warnings
    assert documents.with_files([], ["a.yaml", "b.yaml"]).listeners == DocumentSet().listeners


def test_the_ports_for_calls_are_told_of_as_well() -> None:
    both = a_set(
        API,
        a_file("a.yaml", a_sidecar("api-1", "{name: http, app: 1}")),
        a_file("b.yaml", a_sidecar("api-2", "{name: http, app: 2}")),
        a_file("c.yaml", a_sidecar("api-3", "{name: http, app: 3}", address="10.0.0.1")),
        a_file(
            "d.yaml",
            a_sidecar(
                "api-4", "{name: http, app: 4}", ", outboundPort: 1, uses: [{service: api, localPort: 15001}]"
            ),
        ),
    )
    assert [(each.where.file, each.where.path) for each in both.warnings] == [
        ("b.yaml", "spec.outboundPort"),
        ("d.yaml", "spec.uses[0].localPort"),
    ]


def test_a_thousand_sidecars_of_one_port_are_told_of_in_time() -> None:
    files = [
        a_file(f"{n:04}.yaml", a_sidecar(f"api-{n}", "{name: http, app: 1, sidecar: 15101}"))
        for n in range(1000)
    ]
    start = time.process_time()
    documents = a_set(API, *files)
    assert len(documents.warnings) == 2 * 999
    assert time.process_time() - start < 5


def test_files_that_are_skipped_are_told() -> None:
    documents = DocumentSet().with_files([API], skipped=("web.json",))
    assert [str(each) for each in documents.warnings] == [
        "web.json: the file is not read, for its name. Documents are YAML, in *.yaml and *.yml"
    ]


def test_a_warning_ends_with_its_cause_in_another_file() -> None:
    documents = a_set(a_file("w.yaml", workload_document("w", "address: 10.0.0.1, uses: [api]")))
    assert len(documents.warnings) == 1
    assert documents.with_files([API]).warnings == ()


def test_a_failure_keeps_the_documents() -> None:
    documents = a_set(API).failed("no such directory")
    assert held(documents) == ["api.yaml api"]
    assert documents.with_files([]).failure == ""


def _content(choice: int) -> tuple[str, ...]:
    """One of some contents that clash, depend on one another, or are wrong."""
    return (
        (),
        (service_document("x"),),
        (service_document("y"),),
        (service_document("x"), service_document("y", "ports: [{name: sql, port: 1}]")),
        (workload_document("x-1"),),
        (workload_document("x-1"), service_document("x")),
        (workload_document("y-1"),),
        ("a: [",),
    )[choice]


steps = st.lists(
    st.dictionaries(st.sampled_from(["a", "b", "c"]), st.none() | st.integers(0, 7), min_size=1, max_size=3),
    max_size=8,
)


@given(steps)
def test_whatever_is_written_a_set_is_consistent(history: list[dict[str, int | None]]) -> None:
    documents = DocumentSet()
    for step in history:
        before = documents
        documents = documents.with_files(
            [a_file(name, *_content(choice)) for name, choice in step.items() if choice is not None],
            [name for name, choice in step.items() if choice is None],
        )
        everything = list(documents.documents)
        assert len({each.name for each in everything}) == len(everything)
        assert dict(documents.index) == {each.name: each for each in everything}
        for name, state in documents.files.items():
            assert state.held is state.latest or state.errors
            if state.refused:
                was = before.files.get(name)
                assert state.held is (was.held if was else None)
        # Nothing is left to take: the same files again change nothing in what is in force.
        settled = documents.with_files([])
        assert {*held(settled)} >= {*held(documents)}


def test_one_file_among_many_costs_what_that_file_costs() -> None:
    files = [
        a_file(f"{n}.yaml", service_document(f"s{n}"), *(workload_document(f"s{n}-{i}") for i in range(9)))
        for n in range(500)
    ]
    documents = a_set(*files)
    assert documents.errors == ()
    changed = a_file("7.yaml", service_document("s7"), *(workload_document(f"s7-{i}") for i in range(1, 9)))
    start = time.process_time()
    new = documents.with_files([changed])
    assert time.process_time() - start < 0.02
    assert new.index.get(("Workload", Key("default", "s7-0"))) is None


def test_virtual_addresses_are_as_the_mesh_derives_them() -> None:
    assert list(a_set(API).addresses) == [a_service("api").virtual_address]
