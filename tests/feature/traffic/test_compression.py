"""Compression: callers that can read it get compressed answers, others plain ones."""

from __future__ import annotations

import gzip

from policies.compression import EXAMPLE
from tests.support.traffic.draining import applied_to_all
from tests.support.traffic.world import Traffic

POLICY = EXAMPLE.replace("catalogue", "api")
LARGE = "body=20000;type=application/json"


def headers(accept: str, behave: str = LARGE) -> dict[str, str]:
    return {"accept-encoding": accept, "x-behave": behave}


async def test_the_caller_decides_by_what_it_accepts(traffic: Traffic) -> None:
    async with applied_to_all(traffic, POLICY):
        answer = await traffic.get("http://api.mesh/", headers=headers("gzip"))
        assert (answer.status, answer.headers["content-encoding"]) == (200, "gzip")
        assert len(answer.body) < 5000
        assert len(answer.decoded()) == 20000
        both = await traffic.get("http://api.mesh/", headers=headers("gzip, zstd"))
        assert both.headers["content-encoding"] == "zstd", "the first algorithm is the preferred one"
        other = await traffic.get("http://api.mesh/", headers=headers("br"))
        assert "content-encoding" not in other.headers
        plain = await traffic.get("http://api.mesh/", headers=headers("identity"))
        assert ("content-encoding" not in plain.headers, len(plain.body)) == (True, 20000)


async def test_what_is_small_or_of_another_type_is_left_as_it_is(traffic: Traffic) -> None:
    async with applied_to_all(traffic, POLICY):
        for behave in ("body=400;type=application/json", "body=20000;type=image/png"):
            answer = await traffic.get("http://api.mesh/", headers=headers("gzip", behave))
            assert "content-encoding" not in answer.headers, behave


async def test_requests_are_compressed_for_the_application_if_wanted(traffic: Traffic) -> None:
    only_requests = POLICY.replace("algorithms: [zstd, gzip]", "requests: true\n  responses: false")
    body = b'{"text": "' + b"x" * 5000 + b'"}'
    sent = {**headers("gzip"), "content-type": "application/json"}

    async with applied_to_all(traffic, only_requests):
        answer = await traffic.get("http://api.mesh/", method="POST", headers=sent, body=body)
        assert "content-encoding" not in answer.headers
        (seen,) = traffic.seen("api")
        assert seen.headers["content-encoding"] == "gzip"
        assert seen.body == body or gzip.decompress(seen.body) == body, "a server may decode by itself"
