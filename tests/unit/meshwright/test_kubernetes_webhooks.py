"""Admission reviews over HTTPS, as an API server sends them; what a pod is answered; whom the cluster is told to trust."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import random
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from ca.builtin import BuiltinAuthority
from ca.server_tls import ServerCertificate, ServerNames
from ca.times import system_clock
from inject.options import InjectOptions
from kube.resource import Object
from meshwright.errors import SettingsError
from meshwright.kubernetes.admission import Answer, Handler, NotAReview, request_of
from meshwright.kubernetes.bundles import Bundle, Owner, config_map, missing
from meshwright.kubernetes.mutating import mutated
from meshwright.kubernetes.webhooks import LONGEST, MUTATE, Webhooks, serving
from tests.support.ca_builders import an_authority

NAME = "meshwright.meshwright-system.svc"
OPTIONS = InjectOptions(image="meshwright:dev")


def a_review(pod: object = None, **request: Any) -> Object:
    asked = {"uid": "u-1", "operation": "CREATE", "kind": {"kind": "Pod"}, "object": pod, **request}
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": asked}


def a_pod(**metadata: Any) -> Object:
    return {
        "metadata": {"generateName": "api-", **metadata},
        "spec": {"containers": [{"name": "app", "image": "app:1"}]},
    }


class Server:
    def __init__(self, address: str, authority: BuiltinAuthority, registry: CollectorRegistry) -> None:
        self.url = f"https://{address}{MUTATE}"
        self.authority = authority
        self.registry = registry

    async def ask(self, body: bytes) -> tuple[int, Any]:
        """Verified as an API server verifies: by the bundle, under the Service's name."""
        context = ssl.create_default_context(cadata=self.authority.roots().pem.decode())
        async with (
            aiohttp.ClientSession() as session,
            session.post(self.url, data=io.BytesIO(body), ssl=context, server_hostname=NAME) as answer,
        ):
            text = await answer.text()
            return answer.status, json.loads(text) if answer.status == 200 else text

    def counted(self, answer: str) -> float | None:
        return self.registry.get_sample_value(
            "meshwright_admission_reviews_total", {"webhook": MUTATE, "answer": answer}
        )


@contextlib.asynccontextmanager
async def a_server(directory: Path, handler: Handler) -> AsyncIterator[Server]:
    authority = an_authority(directory)
    certificate = ServerCertificate(authority, ServerNames.parse((NAME,)), system_clock, random.random)
    await certificate.renew()
    registry = CollectorRegistry()
    async with serving(Webhooks({MUTATE: handler}, registry), "127.0.0.1:0", certificate) as address:
        made = Server(address, authority, registry)
        yield made
        # Renewed, it is still the one that the bundle vouches for.
        await certificate.renew()
        status, _ = await made.ask(json.dumps(a_review(a_pod())).encode())
        assert status in {200, 500}


async def mutate(request: Object) -> Answer:
    return mutated(request, OPTIONS)


async def test_a_pod_gets_its_patch_over_https(tmp_path: Path) -> None:
    async with a_server(tmp_path, mutate) as server:
        status, said = await server.ask(json.dumps(a_review(a_pod())).encode())
        assert status == 200
        assert said["response"]["uid"] == "u-1"
        assert said["response"]["patchType"] == "JSONPatch"
        paths = [each["path"] for each in json.loads(base64.b64decode(said["response"]["patch"]))]
        assert {"/spec/initContainers", "/spec/volumes", "/metadata/annotations"} <= set(paths)
        assert server.counted("changed") == 1


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"kind": "AdmissionReview"}', b"[" * 100_000, b'{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}']
)  # fmt: skip
async def test_what_is_no_review_is_refused_and_counted(tmp_path: Path, body: bytes) -> None:
    async with a_server(tmp_path, mutate) as server:
        status, said = await server.ask(body)
        assert status == 400, said
        assert server.counted("malformed") == 1


async def test_more_than_an_object_can_have_is_not_read(tmp_path: Path) -> None:
    async with a_server(tmp_path, mutate) as server:
        assert (await server.ask(b" " * (LONGEST + 1)))[0] == 413


async def test_a_mistake_of_ours_is_no_answer_and_the_next_is_one(tmp_path: Path) -> None:
    fails = [True]

    async def handler(request: Object) -> Answer:
        if fails:
            fails.clear()
            raise RuntimeError("a mistake")
        return mutated(request, OPTIONS)

    async with a_server(tmp_path, handler) as server:
        status, said = await server.ask(json.dumps(a_review(a_pod())).encode())
        assert status == 500
        assert "see its log" in said
        assert server.counted("failed") == 1
        assert (await server.ask(json.dumps(a_review(a_pod())).encode()))[0] == 200


async def test_an_address_that_is_taken_is_told(tmp_path: Path) -> None:
    async with a_server(tmp_path, mutate) as server:
        address = server.url.removeprefix("https://").removesuffix(MUTATE)
        certificate = ServerCertificate(
            server.authority, ServerNames.parse((NAME,)), system_clock, random.random
        )
        await certificate.renew()
        with pytest.raises(SettingsError, match=r"kubernetes\.webhook_address"):
            async with serving(Webhooks({}, CollectorRegistry()), address, certificate):
                await asyncio.Event().wait()


def answered(pod: object, **request: Any) -> Answer:
    return mutated(request_of(a_review(pod, **request))[1], OPTIONS)


def test_what_is_no_new_pod_is_left_alone() -> None:
    assert answered(a_pod(), operation="UPDATE") == Answer()
    assert answered(a_pod(), kind={"kind": "Service"}) == Answer()
    assert answered(None) == Answer()
    assert answered(a_pod(labels={"meshwright.dev/inject": "disabled"})) == Answer()


def test_whoever_makes_a_pod_on_its_nodes_network_is_told() -> None:
    pod = a_pod()
    pod["spec"]["hostNetwork"] = True
    said = answered(pod)
    assert said.allowed
    assert not said.patch
    assert "hostNetwork" in said.warnings[0]


def test_a_pod_that_cannot_have_a_sidecar_is_refused() -> None:
    said = answered(a_pod(annotations={"meshwright.dev/proxy-cpu": "much"}))
    assert not said.allowed
    review = said.review("u")["response"]
    assert review["status"]["code"] == 422
    assert "annotation meshwright.dev/proxy-cpu" in review["status"]["message"]
    assert "meshwright.dev/inject: disabled" in review["status"]["message"]


def test_warnings_are_as_many_and_as_long_as_an_api_server_takes() -> None:
    said = Answer(warnings=("x" * 1000,) * 100).review("u")["response"]["warnings"]
    assert (len(said), len(said[0])) == (32, 256)


@pytest.mark.parametrize(
    "review", [None, [], {}, {"apiVersion": "admission.k8s.io/v1beta1", "kind": "AdmissionReview"}]
)
def test_what_is_no_review(review: object) -> None:
    with pytest.raises(NotAReview):
        request_of(review)


def test_which_namespaces_lack_the_roots() -> None:
    owner = Owner("u", "meshwright")
    wanted = Bundle("pem", "u")
    namespaces = {"a": False, "b": True, "kube-system": True, "c": False, "d": True}
    there = {"c": wanted, "d": Bundle("older", "u")}
    assert list(missing(namespaces, there, wanted)) == ["b", "d", "a"]
    assert list(missing({"a": False}, {"a": Bundle("pem", "another")}, wanted)) == ["a"]
    made = config_map("a", "pem", owner)
    assert made["data"] == {"roots.pem": "pem"}
    assert made["metadata"]["ownerReferences"][0]["uid"] == "u"
    assert "ownerReferences" not in config_map("a", "pem", None)["metadata"]
