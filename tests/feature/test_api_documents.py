"""Documents over REST, on a running control plane with its store: what is written is in force, and what is wrong is said whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.support.api import Api
from tests.support.mesh import Mesh, a_document, a_service_document
from tests.support.processes import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")
V1 = "/api/v1/documents"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Api]:
    async with Mesh(tmp_path_factory.mktemp("api")) as mesh:
        mesh.write("held.yaml", a_service_document("held"))
        await mesh.serve()
        yield Api(mesh.data)


def a_timeout(name: str, service: str, **spec: Any) -> dict[str, Any]:
    return a_document("TimeoutPolicy", name, {"targetRefs": [{"kind": "Service", "name": service}], **spec})


async def test_a_document_from_its_birth_to_its_end(api: Api) -> None:
    made = await api("POST", f"{V1}?reason=first", a_service_document("one"))
    assert made.status == 201, made
    assert made.json["changes"] == [
        {"op": "created", "kind": "Service", "namespace": "default", "name": "one", "resourceVersion": str(made.json["revision"])}
    ]  # fmt: skip
    assert made.headers["ETag"] == f'"{made.json["revision"]}"'
    path = f"{V1}/Service/default/one"

    async def in_force() -> bool:
        return (await api("GET", path)).json["status"].get("inForce") is True

    await eventually(in_force, "the service is in force")
    found = await api("GET", path)
    assert found.json["spec"]["ports"][0]["port"] == 80
    assert found.json["metadata"]["resourceVersion"] == str(made.json["revision"])
    assert (await api("GET", path, headers={"If-None-Match": found.headers["ETag"]})).status == 304

    other = {**found.json, "spec": {"ports": [{"name": "http", "port": 81, "protocol": "http"}]}}
    changed = await api("PUT", path, other, headers={"If-Match": found.headers["ETag"]})
    assert changed.status == 200, changed
    assert changed.json["changes"][0]["op"] == "changed"
    assert changed.json["document"]["metadata"]["generation"] == 2
    again = await api("PUT", path, {**other, "metadata": {"name": "one"}})
    assert again.json["changes"][0]["op"] == "unchanged"
    assert again.json["revision"] == changed.json["revision"]
    assert (await api("PUT", path, other, headers={"If-Match": found.headers["ETag"]})).status == 412
    assert (await api("PUT", path, other)).status == 409, "metadata.resourceVersion is an old one"
    assert (await api("DELETE", path, headers={"If-Match": found.headers["ETag"]})).status == 412
    then = await api("GET", f"{path}?at={made.json['revision']}")
    assert then.json["spec"]["ports"][0]["port"] == 80

    gone = await api("DELETE", path, headers={"If-Match": changed.headers["ETag"]})
    assert gone.status == 200, gone
    assert (await api("GET", path)).status == 404
    assert (await api("DELETE", path)).status == 404


async def test_all_that_is_wrong_is_told_at_once_with_the_lines_of_yaml(api: Api) -> None:
    text = b"""\
apiVersion: meshwright.dev/v1alpha1
kind: Service
metadata:
  name: Wrong_Name
spec:
  ports:
  - {name: http, port: 99999, protocol: http}
  colour: red
"""
    refused = await api("POST", V1, text, media="application/yaml")
    assert refused.status == 422, refused
    assert refused.headers["Content-Type"].startswith("application/problem+json")
    assert {(each["path"], each["line"]) for each in refused.json["errors"]} == {
        ("metadata.name", 4),
        ("spec.ports[0].port", 7),
        ("spec.colour", 8),
    }


async def test_what_a_file_holds_is_read_only(api: Api) -> None:
    found = await api("GET", f"{V1}/Service/default/held")
    assert found.json["status"]["readOnly"] is True
    assert "held.yaml" in found.json["status"]["file"]
    for method, path in (("POST", V1), ("PUT", f"{V1}/Service/default/held")):
        refused = await api(method, path, a_service_document("held"))
        assert refused.status == 409, refused
        assert "held.yaml" in refused.json["errors"][0]["remedy"]
    assert (await api("DELETE", f"{V1}/Service/default/held")).status == 409


async def test_dry_run_writes_nothing(api: Api) -> None:
    told = await api("POST", f"{V1}?dryRun=true", a_service_document("dry"))
    assert (told.status, told.json["dryRun"]) == (200, True), told
    assert told.json["changes"][0]["op"] == "created"
    assert (await api("GET", f"{V1}/Service/default/dry")).status == 404


async def test_patches(api: Api) -> None:
    await api("POST", V1, a_service_document("patched"))
    path = f"{V1}/Service/default/patched"
    merged = await api(
        "PATCH", path, {"metadata": {"labels": {"a": "b"}}}, media="application/merge-patch+json"
    )
    assert merged.status == 200, merged
    operations = [
        {"op": "test", "path": "/metadata/labels/a", "value": "b"},
        {"op": "replace", "path": "/spec/ports/0/port", "value": 8080},
        {"op": "add", "path": "/metadata/labels/c", "value": "d"},
    ]
    patched = await api("PATCH", path, operations, media="application/json-patch+json")
    assert patched.status == 200, patched
    document = patched.json["document"]
    assert document["metadata"]["labels"] == {"a": "b", "c": "d"}
    assert document["spec"]["ports"][0]["port"] == 8080
    assert (await api("PATCH", path, operations, media="application/json-patch+json")).status == 200
    failed = [{"op": "test", "path": "/metadata/labels/a", "value": "x"}]
    assert (await api("PATCH", path, failed, media="application/json-patch+json")).status == 409
    lost = [{"op": "remove", "path": "/nothing"}]
    assert (await api("PATCH", path, lost, media="application/json-patch+json")).status == 422
    assert (await api("PATCH", path, {}, media="text/plain")).status == 415
    renamed = {"metadata": {"name": "other"}}
    assert (await api("PATCH", path, renamed, media="application/merge-patch+json")).status == 422


async def test_effects_and_what_has_none(api: Api) -> None:
    await api("POST", V1, a_service_document("timed"))
    told = await api("POST", V1, a_timeout("lost", "nowhere", request="1s"))
    assert told.status == 201, told
    assert any("no such service" in each["warning"] for each in told.json["warnings"])
    good = await api("POST", V1, a_timeout("found", "timed", request="1s"))
    assert good.status == 201, good
    assert good.json["warnings"] == []
    assert good.json["effects"]["services"] == 1

    async def noted() -> bool:
        shown = (await api("GET", f"{V1}/TimeoutPolicy/default/lost")).json["status"]
        return shown["inForce"] is True and "no such service" in shown["notes"][0]

    await eventually(noted, "the status says that it has no effect")


async def test_a_batch_is_all_or_nothing(api: Api) -> None:
    good, bad = a_service_document("batched"), a_service_document("Bad!")
    refused = await api("POST", "/api/v1/batch", {"documents": [good, bad], "reason": "no"})
    assert refused.status == 422, refused
    assert [each["path"] for each in refused.json["errors"]] == ["documents[1].metadata.name"]
    assert (await api("GET", f"{V1}/Service/default/batched")).status == 404
    done = await api("POST", "/api/v1/batch", {"documents": [good, a_service_document("second")]})
    assert done.status == 200, done
    moved = {"documents": [a_service_document("third")], "delete": [{"kind": "Service", "name": "batched"}]}
    done = await api("POST", "/api/v1/batch", moved)
    assert {each["op"] for each in done.json["changes"]} == {"created", "deleted"}
    twice = await api("POST", "/api/v1/batch", {"documents": [good, good]})
    assert twice.status == 409, twice
    versioned = {**good, "metadata": {"name": "second", "resourceVersion": "1"}}
    assert (await api("POST", "/api/v1/batch", {"documents": [versioned]})).status == 409


async def test_what_belongs_together_is_checked_together(api: Api) -> None:
    orphan = a_document(
        "Workload",
        "orphan",
        {"services": ["parent"], "address": "127.0.0.1", "ports": [{"name": "http", "app": 1}]},
    )
    refused = await api("POST", V1, orphan)
    assert refused.status == 422, refused
    assert "no document declares the service default/parent" in refused.json["detail"]
    both = await api("POST", "/api/v1/batch", {"documents": [orphan, a_service_document("parent")]})
    assert both.status == 200, both
    left = await api("DELETE", f"{V1}/Service/default/parent")
    assert any("no document declares" in each["warning"] for each in left.json["warnings"]), left
    address = {"ports": [{"name": "http", "port": 80, "protocol": "http"}], "address": "240.1.2.3"}
    assert (await api("POST", V1, a_document("Service", "first", address))).status == 201
    collision = await api("POST", V1, a_document("Service", "rival", address))
    assert collision.status == 409, collision
    assert "default/first" in collision.json["detail"]


async def test_of_two_writers_with_one_etag_one_wins(api: Api) -> None:
    await api("POST", V1, a_service_document("raced"))
    path = f"{V1}/Service/default/raced"
    for _ in range(3):
        tag = (await api("GET", path)).headers["ETag"]
        bodies = [
            a_document("Service", "raced", {"ports": [{"name": "http", "port": port, "protocol": "http"}]})
            for port in range(int(tag.strip('"')) * 100, int(tag.strip('"')) * 100 + 8)
        ]
        answers = await asyncio.gather(
            *(api("PUT", path, each, headers={"If-Match": tag}) for each in bodies)
        )
        assert sorted(each.status for each in answers) == [200] + [412] * 7
    bare = [
        a_document("Service", "born", {"ports": [{"name": "http", "port": 80 + n, "protocol": "http"}]})
        for n in range(5)
    ]
    answers = await asyncio.gather(*(api("POST", V1, each) for each in bare))
    assert sorted(each.status for each in answers) == [201, 409, 409, 409, 409]


async def test_selectors_and_pages(api: Api) -> None:
    many = [
        {
            **a_service_document(f"page-{n:02}"),
            "metadata": {"name": f"page-{n:02}", "labels": {"page": str(n % 3)}},
        }
        for n in range(12)
    ]
    assert (await api("POST", "/api/v1/batch", {"documents": many})).status == 200
    query = f"{V1}?kind=Service&labelSelector=page&limit=5"
    names, following = [], ""
    for size in (5, 5, 2):
        answer = await api("GET", query + (f"&continue={following}" if following else ""))
        assert len(answer.json["items"]) == size, answer
        names += [each["metadata"]["name"] for each in answer.json["items"]]
        following = answer.json["continue"]
        await api(
            "POST",
            V1,
            {**a_service_document("late"), "metadata": {"name": f"page-{size}-x", "labels": {"page": "0"}}},
        )
    assert names == [f"page-{n:02}" for n in range(12)], "all pages are of the first one's revision"
    assert following == ""
    for selector, count in (
        ("page=1", 4),
        ("page!=1,page", 10),
        ("page in (1,2)", 8),
        ("page notin (0),page", 8),
    ):
        answer = await api("GET", f"{V1}?labelSelector={selector}&limit=1000")
        assert len(answer.json["items"]) == count, (selector, answer)
    one = await api("GET", f"{V1}?fieldSelector=metadata.name=page-03")
    assert [each["metadata"]["name"] for each in one.json["items"]] == ["page-03"]
    assert (await api("GET", f"{V1}?labelSelector=a=b=c")).status == 422
    assert (await api("GET", f"{V1}?continue=nonsense")).status == 422
    assert (await api("GET", f"{V1}?limit=0")).status == 400


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b"{}", b'{"a": NaN}', b'{"a": 1, "a": 2}', b"[" * 100_000,
     b'{"kind": 1}', b'{"kind": "Service", "apiVersion": []}', b'{"kind": "Service", "metadata": []}', b'{"kind": "Nothing"}',
     b'{"kind": "Service", "apiVersion": "meshwright.dev/v1alpha1", "metadata": {"name": "\\ud800"}}', b'{"a": 1e999}',
     b'{"kind": "Service", "apiVersion": "meshwright.dev/v1alpha1", "metadata": {"name": "x", "resourceVersion": 7}}'],
)  # fmt: skip
@pytest.mark.parametrize("media", ["application/json", "application/yaml"])
async def test_nonsense_is_refused(api: Api, body: bytes, media: str) -> None:
    answer = await api("POST", V1, body, media=media)
    assert answer.status in {400, 422}, answer
    assert answer.json["detail"]


async def test_too_large(api: Api) -> None:
    answer = await api("POST", V1, b'{"a": "' + b"x" * (1 << 20) + b'"}')
    assert answer.status == 413, answer
