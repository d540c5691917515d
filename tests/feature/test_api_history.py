"""The history of the store over REST: revisions, differences, the way back, and the stream of what comes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from meshwright.data_dir import SOCKET
from tests.support.api import Api
from tests.support.mesh import Mesh, a_document, a_service_document
from tests.support.processes import PATIENCE

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Api]:
    async with Mesh(tmp_path_factory.mktemp("history")) as mesh:
        await mesh.serve()
        yield Api(mesh.data)


async def put(api: Api, name: str, port: int, reason: str = "") -> int:
    document = a_document("Service", name, {"ports": [{"name": "http", "port": port, "protocol": "http"}]})
    answer = await api("PUT", f"/api/v1/documents/Service/default/{name}?reason={reason}", document)
    assert answer.status in {200, 201}, answer
    return int(answer.json["revision"])


async def test_history_and_the_way_back(api: Api) -> None:
    first = await put(api, "old", 80, "begin")
    second = await put(api, "old", 81)
    third = await put(api, "new", 82)
    shown = (await api("GET", f"/api/v1/revisions/{first}")).json
    assert (shown["reason"], shown["author"].partition(":")[0]) == ("begin", "uid")
    assert shown["changes"] == [{"op": "put", "kind": "Service", "namespace": "default", "name": "old"}]
    page = (await api("GET", "/api/v1/revisions?limit=2")).json
    assert [each["number"] for each in page["items"]] == [third, second]
    page = (await api("GET", f"/api/v1/revisions?limit=2&before={page['before']}")).json
    assert first in [each["number"] for each in page["items"]]
    of_one = (await api("GET", "/api/v1/revisions?kind=Service&namespace=default&name=old")).json
    assert [each["number"] for each in of_one["items"]] == [second, first]
    assert (await api("GET", "/api/v1/revisions?name=old")).status == 422
    differs = (await api("GET", f"/api/v1/revisions/{first}/diff")).json
    assert [(each["name"], each["before"] is None) for each in differs["items"]] == [
        ("new", True),
        ("old", False),
    ]
    then = (await api("GET", f"/api/v1/revisions/{first}/documents")).json
    assert [each["spec"]["ports"][0]["port"] for each in then["items"]] == [80]

    dry = await api("POST", "/api/v1/rollback", {"to": first, "dryRun": True})
    assert {(each["op"], each["name"]) for each in dry.json["changes"]} == {
        ("changed", "old"),
        ("deleted", "new"),
    }, dry
    back = await api("POST", "/api/v1/rollback", {"to": first, "reason": "worse"})
    assert back.json["revision"] == third + 1, back
    assert {each["name"]: each["resourceVersion"] for each in back.json["changes"]} == {
        "old": str(first),
        "new": "",
    }
    now = await api("GET", "/api/v1/documents/Service/default/old")
    assert now.json["spec"]["ports"][0]["port"] == 80
    assert now.headers["ETag"] == f'"{first}"'
    assert (await api("GET", "/api/v1/documents/Service/default/new")).status == 404
    for path in ("/api/v1/revisions/999", "/api/v1/revisions/999/diff", "/api/v1/revisions/1/diff?to=999"):
        assert (await api("GET", path)).status == 404
    assert (await api("GET", "/api/v1/revisions/x")).status == 400
    assert (await api("POST", "/api/v1/rollback", {"to": 999})).status == 404


async def read(response: aiohttp.ClientResponse) -> dict[str, Any]:
    """The next line that is no heartbeat."""
    while True:
        line = json.loads(await asyncio.wait_for(response.content.readline(), PATIENCE))
        if line["type"] != "heartbeat":
            return dict(line)


async def test_a_watch_goes_on_where_it_broke(api: Api) -> None:
    connector = aiohttp.UnixConnector(str(api.data_dir / SOCKET))
    async with aiohttp.ClientSession(connector=connector) as session:
        async with session.get("http://m/api/v1/watch?documents=true") as stream:
            begun = json.loads(await stream.content.readline())
            assert begun["type"] == "heartbeat"
            number = await put(api, "watched", 90)
            line = await read(stream)
            assert (line["revision"], begun["revision"]) == (number, number - 1)
            assert line["changes"][0]["document"]["spec"]["ports"][0]["port"] == 90
        missed = [await put(api, "watched", 91), await put(api, "watched", 92)]
        async with session.get(f"http://m/api/v1/watch?after={number}&kind=Service") as stream:
            assert [(await read(stream))["revision"] for _ in missed] == missed
        async with session.get("http://m/api/v1/watch?after=9999") as stream:
            assert stream.status == 404


async def test_a_slow_watcher_harms_nobody(api: Api) -> None:
    """It reads nothing while more is told than its connection holds; others are told of each revision all the same."""
    slow, _writer = await asyncio.open_unix_connection(str(api.data_dir / SOCKET), limit=1024)
    head = (await api("GET", "/api/v1/revisions?limit=1")).json["items"][0]["number"]
    _writer.write(f"GET /api/v1/watch?after={head}&documents=true HTTP/1.1\r\nHost: m\r\n\r\n".encode())
    connector = aiohttp.UnixConnector(str(api.data_dir / SOCKET))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get(f"http://m/api/v1/watch?after={head}") as stream,
    ):
        for number in range(1, 9):
            many = [
                {
                    **a_service_document(f"big-{n}"),
                    "metadata": {"name": f"big-{n}", "annotations": {"x": str(number) * 100_000}},
                }
                for n in range(4)
            ]
            done = await api("POST", "/api/v1/batch", {"documents": many})
            assert done.status == 200, done
            assert (await read(stream))["revision"] == head + number
    _writer.close()
    assert slow.at_eof() is False
