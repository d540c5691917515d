"""The quarantine: who is spared what, on whose word, for how long; and what hostile proxies can do to others."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ca.times import system_clock
from documents.sets import DocumentSet
from envoy.render import Rendered
from mesh.events import DocumentName
from mesh.names import Key
from mesh.state import MeshState
from meshwright.certificates import Certificates
from meshwright.document_status import DocumentStatus
from meshwright.quarantine import book
from meshwright.quarantine.book import DIFFERENT, OF_ONE
from meshwright.quarantine.cases import Verdict
from meshwright.quarantine.file import NAME
from meshwright.quarantine.kept import StoreHistory
from meshwright.quarantine.trial import Neighbours
from meshwright.revisions import Held, in_force
from policies.registry import KINDS
from store.repository import Repository
from store.sets import as_file
from store.sqlite import SqliteBackend
from store.writes import Put
from tests.support.policy_documents import declared
from tests.support.quarantining import BAD, ENVOY, GOOD, NO_ENVOY, ROUTES, SOURCE, a_mesh, a_patch
from xds.state import Refusal

PATCH = ("EnvoyPatch", Key("default", "patch"))


async def test_what_envoy_here_refuses_too_nobody_of_the_version_is_given(tmp_path: Path) -> None:
    async with a_mesh(tmp_path) as mesh:
        one, two = mesh.connect("web-0"), mesh.connect("web-1")
        mesh.tell(a_patch(GOOD))
        await mesh.settled()
        good = mesh.routes(one)
        mesh.tell(a_patch(BAD))
        await mesh.settled()
        assert mesh.routes(one) != good
        mesh.refuse(one)
        await mesh.settled()
        assert mesh.verdicts() == {f"patch {ENVOY}": Verdict.REFUSES}
        assert mesh.routes(one) == mesh.routes(two) == good
        assert mesh.routes(mesh.connect("web-2")) == good, "a cold proxy"
        (problem,) = mesh.quarantine.problems().values()
        assert "all proxies of envoy 1.40" in problem
        assert "its earlier revision is in force" in problem
        assert mesh.audit == ["document quarantined", "document quarantined for all proxies of a version"]


async def test_the_refusing_proxy_is_spared_at_once_whatever_an_envoy_here_says_later(tmp_path: Path) -> None:
    async with a_mesh(tmp_path, NO_ENVOY) as mesh:
        one, two = mesh.connect("web-0"), mesh.connect("web-1")
        mesh.tell(a_patch(BAD))
        await mesh.settled()
        mesh.refuse(one)
        await mesh.settled()
        assert mesh.verdicts() == {f"patch {ENVOY}": Verdict.UNKNOWN}
        assert b"x-patch" not in mesh.routes(one)
        assert b"x-patch" in mesh.routes(two), "one alone rolls back nobody else"
        mesh.refuse(two)
        await mesh.settled()
        assert b"x-patch" not in mesh.routes(mesh.connect("web-2")), (
            "two identities agree, and nobody can tell"
        )


@pytest.mark.parametrize("identities", [("same", "same"), (None, None)], ids=["one account", "plaintext"])
async def test_what_is_not_proved_to_be_two_counts_as_one(
    tmp_path: Path, identities: tuple[str | None, str | None]
) -> None:
    async with a_mesh(tmp_path, NO_ENVOY) as mesh:
        names = [mesh.connect(f"web-{number}", identity=each) for number, each in enumerate(identities)]
        mesh.tell(a_patch(BAD))
        await mesh.settled()
        for each in names:
            mesh.refuse(each)
        await mesh.settled()
        assert [b"x-patch" in mesh.routes(each) for each in names] == [False, False]
        assert b"x-patch" in mesh.routes(mesh.connect("web-2"))


async def test_two_that_collude_against_what_envoy_here_accepts_take_it_from_themselves_alone(
    tmp_path: Path,
) -> None:
    async with a_mesh(tmp_path) as mesh:
        one, two = mesh.connect("web-0"), mesh.connect("web-1")
        mesh.tell(a_patch(GOOD))
        await mesh.settled()
        mesh.refuse(one)
        mesh.refuse(two)
        await mesh.settled()
        assert mesh.verdicts() == {f"patch {ENVOY}": Verdict.ACCEPTS}
        assert b"x-patch" not in mesh.routes(one)
        assert b"x-patch" not in mesh.routes(two)
        assert b"x-patch" in mesh.routes(mesh.connect("web-2"))


ACCESS = """\
apiVersion: meshwright.dev/v1alpha1
kind: AccessPolicy
metadata: {name: patch}
spec: {targetRefs: [{kind: Service, name: web}], action: deny, rules: [{from: [{service: api}]}]}
"""


async def test_what_protects_somebody_is_not_replaced_by_nothing_and_two_cannot_take_it_back(
    tmp_path: Path,
) -> None:
    (policy,) = declared(ACCESS)
    async with a_mesh(tmp_path, NO_ENVOY) as mesh:
        one, two = mesh.connect("web-0"), mesh.connect("web-1")
        before = set(mesh.given(one))
        open_to_all = {name: each.body for name, each in mesh.given(one).items()}
        mesh.tell(policy)
        await mesh.settled()
        (changed,) = [name for name in before if mesh.given(one)[name].body != open_to_all[name]]
        closed = mesh.given(one)[changed].body
        mesh.refuse(one, changed)
        mesh.refuse(two, changed)
        await mesh.settled()
        assert mesh.given(one)[changed].body == closed
        assert mesh.given(mesh.connect("web-2"))[changed].body == closed
        (told,) = mesh.quarantine.told()
        assert told.instead is None
        assert not told.case.for_all


async def test_a_corrected_document_is_in_force_by_itself_and_one_that_is_gone_is_gone(
    tmp_path: Path,
) -> None:
    async with a_mesh(tmp_path) as mesh:
        one = mesh.connect("web-0")
        mesh.tell(a_patch(BAD))
        await mesh.settled()
        mesh.refuse(one)
        await mesh.settled()
        mesh.tell(a_patch("better"))
        await mesh.settled()
        assert b"better" in mesh.routes(one)
        assert mesh.quarantine.problems() == {}
        assert mesh.audit[-1] == "document no longer quarantined"
        mesh.tell(a_patch(BAD))
        await mesh.settled()
        assert b"better" in mesh.routes(one), "the same poison again is known"
        mesh.tell(removed=(PATCH,))
        await mesh.settled()
        assert b"x-patch" not in mesh.routes(one)


async def test_all_else_goes_out_of_the_resource_that_was_refused(tmp_path: Path) -> None:
    async with a_mesh(tmp_path) as mesh:
        one = mesh.connect("web-0")
        mesh.tell(a_patch(BAD))
        await mesh.settled()
        mesh.refuse(one)
        await mesh.settled()
        mesh.tell(a_patch("also", "other"))
        await mesh.settled()
        assert b"also" in mesh.routes(one)
        assert b"x-patch" not in mesh.routes(one)


async def test_of_several_the_guilty_one_is_found_though_another_changed_last(tmp_path: Path) -> None:
    async with a_mesh(tmp_path) as mesh:
        one = mesh.connect("web-0")
        mesh.tell(a_patch(BAD))
        mesh.tell(a_patch("innocent", "other"))
        await mesh.settled()
        mesh.refuse(one)
        await mesh.settled()
        assert mesh.verdicts() == {f"patch {ENVOY}": Verdict.REFUSES}
        assert b"innocent" in mesh.routes(one)


async def test_two_guilty_ones_are_both_found(tmp_path: Path) -> None:
    async with a_mesh(tmp_path) as mesh:
        one = mesh.connect("web-0")
        mesh.tell(a_patch(BAD), a_patch(BAD, "second"), a_patch("innocent", "third"))
        await mesh.settled()
        mesh.refuse(one)
        await mesh.settled()
        assert mesh.verdicts() == {f"patch {ENVOY}": Verdict.REFUSES, f"second {ENVOY}": Verdict.REFUSES}
        assert b"innocent" in mesh.routes(one)


async def test_a_document_that_was_bad_from_the_beginning_is_found_too(tmp_path: Path) -> None:
    """Nothing has changed since the start, so that only an Envoy can tell."""
    async with a_mesh(tmp_path, first=(a_patch(BAD), a_patch("innocent", "other"))) as mesh:
        one = mesh.connect("web-0")
        mesh.refuse(one)
        await mesh.settled()
        assert mesh.verdicts() == {f"patch {ENVOY}": Verdict.REFUSES}
        assert b"innocent" in mesh.routes(one)
        assert b"x-patch" not in mesh.routes(one)


async def test_another_version_of_envoy_is_another_matter(tmp_path: Path) -> None:
    async with a_mesh(tmp_path) as mesh:
        one, older = mesh.connect("web-0"), mesh.connect("web-1", envoy="envoy 1.36")
        mesh.tell(a_patch(BAD))
        await mesh.settled()
        mesh.refuse(one)
        await mesh.settled()
        assert b"x-patch" not in mesh.routes(one)
        assert b"x-patch" in mesh.routes(older)
        mesh.refuse(older)
        await mesh.settled()
        assert mesh.verdicts() == {
            f"patch {ENVOY}": Verdict.REFUSES,
            "patch envoy 1.36": Verdict.UNKNOWN,
        }


async def test_a_restart_in_the_middle_sends_the_poison_to_nobody(tmp_path: Path) -> None:
    async with a_mesh(tmp_path) as mesh:
        one = mesh.connect("web-0")
        mesh.tell(a_patch(GOOD))
        await mesh.settled()
        good = mesh.routes(one)
        mesh.tell(a_patch(BAD))
        await mesh.settled()
        mesh.refuse(one)
        await mesh.saved()
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600
    async with a_mesh(tmp_path, first=(a_patch(BAD),)) as again:
        assert again.routes(again.connect("web-1")) == good
        assert again.verdicts() == {f"patch {ENVOY}": Verdict.REFUSES}


async def test_a_restart_between_the_poison_and_its_refusal_still_knows_what_was_before(
    tmp_path: Path,
) -> None:
    async with a_mesh(tmp_path) as mesh:
        one = mesh.connect("web-0")
        mesh.tell(a_patch(GOOD))
        await mesh.settled()
        good = mesh.routes(one)
        mesh.tell(a_patch(BAD))
        await mesh.saved()
    async with a_mesh(tmp_path, first=(a_patch(BAD),)) as again:
        one = again.connect("web-0")
        again.refuse(one)
        await again.settled()
        assert again.routes(one) == good


async def test_what_the_store_remembers_is_used_where_nothing_has_changed_since_the_start(
    tmp_path: Path,
) -> None:
    backend = await SqliteBackend.open(tmp_path / "store.db")
    try:
        repository = Repository(backend)
        for value in (GOOD, BAD):
            body = yaml.safe_load(a_patch(value).text)
            await repository.commit([Put(*PATCH, body)], author="test")
        stored = await repository.get(*PATCH)
        assert stored is not None
        (document,) = as_file(stored, KINDS).documents
        kept = StoreHistory(repository, SOURCE, KINDS)
        async with a_mesh(tmp_path, first=(document.as_declared(),), kept=kept) as mesh:
            one = mesh.connect("web-0")
            mesh.refuse(one)
            await mesh.saved()
            assert GOOD.encode() in mesh.routes(one)
            assert mesh.verdicts() == {f"patch {ENVOY}": Verdict.REFUSES}
        async with a_mesh(tmp_path, first=(document.as_declared(),)) as again:
            assert GOOD.encode() in again.routes(again.connect("web-1"))
    finally:
        await backend.close()


async def test_a_file_that_cannot_be_read_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text("{")
    async with a_mesh(tmp_path) as mesh:
        assert mesh.quarantine.told() == ()
    assert (tmp_path / f"{NAME}.corrupt").read_text() == "{"


async def test_release_sends_it_again(tmp_path: Path) -> None:
    async with a_mesh(tmp_path) as mesh:
        one = mesh.connect("web-0")
        mesh.tell(a_patch(BAD))
        await mesh.settled()
        mesh.refuse(one)
        await mesh.settled()
        assert mesh.quarantine.release(PATCH) == 1
        await mesh.settled()
        assert b"x-patch" in mesh.routes(one)
        assert mesh.quarantine.release(PATCH) == 0


async def test_the_status_of_a_document_says_that_it_is_not_in_force(tmp_path: Path) -> None:
    """Not on the word of one proxy, which would speak for all."""
    async with a_mesh(tmp_path) as mesh:
        told = Certificates(None, tmp_path, system_clock)
        status = DocumentStatus(lambda: mesh.pipeline.state, told, DocumentSet, mesh.quarantine.of)
        one = mesh.connect("web-0")
        mesh.tell(a_patch(GOOD))
        await mesh.settled()
        mesh.refuse(one)
        await mesh.settled()
        (said,) = status([PATCH]).values()
        assert "which it made (p.yaml#1 EnvoyPatch default/patch): no" in str(said["quarantined"])
        assert "inForce" not in said
        mesh.tell(a_patch(BAD))
        await mesh.settled()
        mesh.refuse(mesh.connect("web-1"))
        await mesh.settled()
        (said,) = status([PATCH]).values()
        assert said["inForce"] is False


# Hostile proxies


async def test_one_that_refuses_everything_takes_nothing_from_anybody_else(tmp_path: Path) -> None:
    async with a_mesh(tmp_path) as mesh:
        hostile, other = mesh.connect("web-0"), mesh.connect("web-1")
        mesh.tell(*(a_patch(f"value-{number}", f"patch-{number}") for number in range(OF_ONE + 4)))
        await mesh.settled()
        before = {name: each.body for name, each in mesh.given(other).items()}
        for _ in range(3 * OF_ONE):
            mesh.refuse(hostile, *mesh.given(hostile))
            await mesh.settled()
        assert {name: each.body for name, each in mesh.given(other).items()} == before
        assert not any(each.case.for_all for each in mesh.quarantine.told())
        assert list(mesh.quarantine.book.odd) == [hostile]
        assert mesh.routes(hostile) == mesh.routes(other), "nothing is set aside for it any more"
        assert "it refuses so much" in mesh.quarantine.problems()[f"proxy {hostile}"]
        assert len(mesh.publisher.editions) <= OF_ONE


async def test_many_that_each_refuse_something_else_are_given_a_bounded_number_of_editions(
    tmp_path: Path,
) -> None:
    crowd = 16
    async with a_mesh(tmp_path, NO_ENVOY, proxies=crowd) as mesh:
        names = [mesh.connect(f"web-{number}") for number in range(crowd)]
        for number, name in enumerate(names):
            mesh.tell(a_patch(f"value-{number}"))
            await mesh.pipeline.settled()
            mesh.refuse(name)
            mesh.tell(a_patch(f"other-{number}", f"other-{number}"))
            await mesh.settled()
            mesh.refuse(name)
            await mesh.settled()
            mesh.publisher.sweep(1e9)
        assert len(mesh.publisher.editions) <= 12


async def test_proxies_that_are_gone_take_nobody_the_quarantine(tmp_path: Path) -> None:
    """As many as may have views of their own have gone; then one more refuses something."""
    async with a_mesh(tmp_path, NO_ENVOY, proxies=DIFFERENT + 1) as mesh:
        for number in range(DIFFERENT):
            name = mesh.connect(f"web-{number}")
            mesh.tell(a_patch(f"value-{number}", f"patch-{number}"))
            await mesh.settled()
            mesh.refuse(name)
            await mesh.settled()
            assert f"x-patch-{number}".encode() not in mesh.routes(name)
            mesh.pipeline.detach(name)
        last = mesh.connect(f"web-{DIFFERENT}")
        mesh.tell(a_patch("value", "patch-last"))
        await mesh.settled()
        mesh.refuse(last)
        await mesh.settled()
        assert b"x-patch-last" not in mesh.routes(last)
        mesh.tell(removed=tuple(("EnvoyPatch", Key("default", f"patch-{each}")) for each in range(DIFFERENT)))
        mesh.quarantine.release(("EnvoyPatch", Key("default", "patch-last")))
        for case in mesh.quarantine.book.cases():
            mesh.quarantine.book.drop(case)
        assert not mesh.quarantine.book.remembers


async def test_cases_that_are_over_cost_events_of_other_documents_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[DocumentName] = []

    def counted(state: MeshState, name: DocumentName) -> tuple[str, Held] | None:
        looked.append(name)
        return in_force(state, name)

    async with a_mesh(tmp_path, NO_ENVOY) as mesh:
        one = mesh.connect("web-0")
        for number in range(3):
            name = f"patch-{number}"
            mesh.tell(a_patch(BAD, name))
            await mesh.settled()
            mesh.refuse(one)
            await mesh.settled()
            mesh.tell(a_patch(GOOD, name))
            await mesh.settled()
        assert len(mesh.quarantine.told()) == 3
        monkeypatch.setattr(book, "in_force", counted)
        mesh.tell(a_patch(GOOD, "another"))
        assert looked == []
        mesh.tell(a_patch(BAD, "patch-1"))
        assert looked == [("EnvoyPatch", Key("default", "patch-1"))]
        assert len(mesh.quarantine.of(("EnvoyPatch", Key("default", "patch-1")))) == 1
        assert mesh.quarantine.of(("EnvoyPatch", Key("default", "patch-2"))) == ()


async def test_who_refuses_much_keeps_nobody_waiting(tmp_path: Path) -> None:
    asked: list[str] = []

    class Slow:
        """Stands in for Envoys, to see whose turn it is."""

        async def accepts(self, envoy: str, resource: Rendered, around: Neighbours) -> bool | None:
            del around
            asked.append(f"{envoy} {resource.name}")
            return None

    async with a_mesh(tmp_path, Slow()) as mesh:
        hostile, honest = mesh.connect("web-0"), mesh.connect("web-1", envoy="envoy 1.39")
        mesh.tell(a_patch(BAD))
        await mesh.pipeline.settled()
        for _ in range(100):
            mesh.refuse(hostile, *mesh.given(hostile))
        mesh.refuse(honest, ROUTES)
        await mesh.settled()
        assert f"patch {ENVOY}" in mesh.verdicts()
        assert "patch envoy 1.39" in mesh.verdicts()
        assert len(asked) < 50


async def test_secrets_are_never_traced_nor_shown_to_anybody(tmp_path: Path) -> None:
    async with a_mesh(tmp_path) as mesh:
        one = mesh.connect("web-0")
        mesh.tell(a_patch(GOOD))
        await mesh.settled()
        secret = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
        resource = mesh.given(one)[ROUTES]
        mesh.quarantine.refused(one, secret, Refusal("1", "1", ("identity",), "no", 0.0, (), (resource,)))
        await mesh.settled()
        assert mesh.quarantine.told() == ()


async def test_what_one_refused_long_ago_does_not_count_against_it(tmp_path: Path) -> None:
    async with a_mesh(tmp_path, NO_ENVOY) as mesh:
        one = mesh.connect("web-0")
        for number in range(OF_ONE + 2):
            mesh.tell(a_patch(f"value-{number}"))
            await mesh.settled()
            mesh.refuse(one)
            await mesh.settled()
        assert mesh.quarantine.book.odd == {}
        assert len([each for each in mesh.quarantine.told() if each.active]) == 1
