"""Objects that somebody is about to write: refused in the words of the API, warned of what is in vain; and no rule of a schema is ours alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from api.shapes.documents import Warned, WriteEffects
from api.writing import Foreseen
from mesh.events import SourceSnapshot, SourceUpdate
from mesh.names import Key
from mesh.state import MeshState
from meshwright.kubernetes.validating import Validator, reviewed
from policies.registry import KINDS
from store.kubernetes_held import Held
from store.kubernetes_objects import kept
from tests.support.builders import a_service
from tests.support.kubernetes.wrong_objects import WEBHOOK, WRONG, T, Wrong


def request(manifest: dict[str, Any], operation: str = "CREATE", **more: Any) -> dict[str, Any]:
    return {"operation": operation, "namespace": "default", "object": manifest, **more}


def right(spec: str = f"{T}\nattempts: 3", kind: str = "RetryPolicy", name: str = "right") -> dict[str, Any]:
    return Wrong(kind, spec, "nobody", (), name).manifest()


class Foretells:
    """A change of anything means the same."""

    def __init__(self, *warnings: Warned) -> None:
        self.warnings = warnings
        self.seen: list[SourceUpdate] = []

    def __call__(self) -> Any:
        def reckon(update: SourceUpdate) -> Foreseen:
            self.seen.append(update)
            return Foreseen(WriteEffects(proxies=1, services=1, resources=1, about=False), self.warnings)

        return reckon


def test_there_are_forty_and_more() -> None:
    assert len(WRONG) >= 40


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_what_a_schema_refuses_is_refused_here_too(wrong: Wrong) -> None:
    assert reviewed(kept(wrong.manifest()), Held()).errors


@pytest.mark.parametrize("wrong", WEBHOOK, ids=str)
async def test_what_no_schema_can_say(wrong: Wrong) -> None:
    answer = await Validator(Held)(request(wrong.manifest()))
    assert not answer.allowed
    for part in wrong.says:
        assert part in answer.message


async def test_what_is_right_is_allowed_with_what_it_means_for_the_mesh() -> None:
    own = Warned(document="RetryPolicy default/right", warning="there is no service default/api")
    other = Warned(document="HTTPRoute default/r", warning="it leads nowhere")
    foretells = Foretells(own, other)
    answer = await Validator(Held, foretells)(request(right()))
    assert answer.allowed
    assert answer.warnings == ("there is no service default/api", "HTTPRoute default/r: it leads nowhere")
    (update,) = foretells.seen
    assert [each.kind for each in update.declared] == ["RetryPolicy"]


async def test_a_workload_may_serve_what_others_declare() -> None:
    workload = right("address: 10.0.0.1\nservices: [api]", "Workload")
    answer = await Validator(Held)(request(workload))
    assert answer.allowed
    assert answer.warnings == ()


async def test_what_does_not_fit_yet_is_a_warning() -> None:
    service = kept(right("ports: [{name: http, port: 80}]", "Service", "api"))
    held = Held().with_changes({service.name: service}, "cluster", KINDS)
    workload = right("address: 10.0.0.1\nservices: [api]\nports: [{name: metrics, app: 9090}]", "Workload")
    answer = await Validator(lambda: held)(request(workload))
    assert answer.allowed
    assert answer.warnings[0].startswith("spec.ports[0].name: no port of default/api is called metrics. ")


async def test_what_another_object_has_already() -> None:
    service = "address: 10.0.0.9\nports: [{name: http, port: 80}]"
    other = kept(right(service, "Service", "other"))
    held = Held().with_changes({other.name: other}, "cluster", KINDS)
    answer = await Validator(lambda: held)(request(right(service, "Service")))
    assert not answer.allowed
    assert "its virtual address 10.0.0.9 is that of service default/other already" in answer.message
    assert (await Validator(lambda: held)(request(right(service, "Service", "other"), "UPDATE"))).allowed


@pytest.mark.parametrize("kind", ["Service", "ExternalService"])
async def test_an_address_of_a_service_of_the_cluster_is_not_to_be_had(kind: str) -> None:
    api = replace(
        a_service("api", address="10.96.0.7"), key=Key("shop", "api"), reserved=("10.96.0.7", "fd00::7")
    )
    state, _ = MeshState("test", order=("cluster",)).apply(SourceSnapshot("kubernetes", (api,)))
    validator = Validator(Held, None, lambda: state)
    more = "hosts: [api.example.com]\n" if kind == "ExternalService" else ""

    def asked(address: str) -> dict[str, Any]:
        return request(
            right(f"address: '{address}'\n{more}ports: [{{name: http, port: 80}}]", kind, "hijack")
        )

    for address in api.reserved:
        answer = await validator(asked(address))
        assert not answer.allowed
        assert answer.message == (
            f"spec.address: {address} is an address that its cluster has given to Service shop/api, which keeps it. "
            "Give another spec.address, or none"
        )
    assert (await validator(asked("10.96.0.8"))).allowed


@pytest.mark.parametrize(
    "asked",
    [
        request(right("attempts: 3"), "DELETE"),
        request(right("attempts: 3"), subResource="status"),
        {"operation": "CONNECT", "object": None},
        request(right("attempts: 3") | {"apiVersion": "v1"}),
    ],
    ids=["delete", "status", "no object", "not ours"],
)
async def test_what_is_not_asked_about(asked: dict[str, Any]) -> None:
    assert (await Validator(Held)(asked)).allowed


async def test_an_object_that_goes_may_lose_its_finalizers() -> None:
    manifest = right("attempts: 3")
    manifest["metadata"]["deletionTimestamp"] = "2026-01-31T12:00:00Z"
    assert (await Validator(Held)(request(manifest, "UPDATE"))).allowed


async def test_an_object_without_a_name_yet() -> None:
    manifest = right()
    manifest["metadata"] = {"generateName": "retry-"}
    assert (await Validator(Held)(request(manifest))).allowed
