"""AccessLog: what real sidecars write down of real requests."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.otlp_receiver import OtlpReceiver
from tests.support.processes import eventually
from tests.support.traffic.applying import RefusedError
from tests.support.traffic.draining import drained
from tests.support.traffic.statistics import within
from tests.support.traffic.world import Traffic


def policy(spec: str, target: str = "{kind: Mesh}", name: str = "log") -> str:
    return (
        f"apiVersion: meshwright.dev/v1alpha1\nkind: AccessLog\nmetadata: {{name: {name}}}\n"
        f"spec:\n  targetRefs: [{target}]\n{spec}"
    )


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines that are there whole: the last one may still be on its way.

    One file for all sidecars of this host, as each short line is one write; long lines (over 4 KiB) of two sidecars would mix.
    """
    text = path.read_text() if path.exists() else ""
    return [json.loads(each) for each in text[: text.rfind("\n") + 1].splitlines()]


async def lines(path: Path, wanted: Callable[[dict[str, Any]], bool], count: int) -> list[dict[str, Any]]:
    """The lines that are `wanted`, once there are `count`; Envoy writes them within 1 s."""

    async def there() -> list[dict[str, Any]]:
        found = read_lines(path)
        those = [each for each in found if wanted(each)]
        assert len(those) >= count, found
        return those

    return await eventually(there, f"{count} lines", patience=15)


async def test_both_sidecars_name_both_identities_and_say_why_it_failed(
    traffic: Traffic, tmp_path: Path
) -> None:
    path = tmp_path / "access.log"
    web, store = traffic.member("web").identity, traffic.member("store").identity
    document = policy(f'  file: {path}\n  fields: {{agent: "%REQ(USER-AGENT)%", authority: ""}}\n')
    async with traffic.apply(document):
        await drained(traffic)
        answer = await traffic.get(
            "http://store.mesh/items?q=1", headers={"user-agent": "curl", "x-request-id": "well"}
        )
        assert answer.status == 200, answer
        await traffic.get("http://nobody.mesh/", headers={"x-request-id": "no-route"})
        await traffic.get("http://store.mesh/", headers={"x-request-id": "own", "x-behave": "status=503"})
        async with traffic.without_app("other"):
            await traffic.get("http://other.other.mesh/", headers={"x-request-id": "away"})
        async with traffic.tcp("tcp/echo") as connection:
            await connection.ask("ping")
        # A try that failed between sidecar and application is tried again: the callee has a line for each.
        wanted = {"well": 2, "no-route": 1, "own": 2, "away": 1 + 3}

        def of_this_test(line: dict[str, Any]) -> bool:
            return line.get("request_id") in wanted or "method" not in line

        found = await lines(path, of_this_test, sum(wanted.values()) + 2)
    assert Counter(each["request_id"] for each in found if "request_id" in each) == wanted

    by = {(each.get("request_id", "tcp"), each["side"]): each for each in found}
    for side in ("caller", "callee"):
        line = by["well", side]
        assert (line["caller"], line["callee"]) == (web, store)
        assert (line["method"], line["path"], line["status"]) == ("GET", "/items?q=1", 200)
        assert (line["agent"], line["tries"], line["route"]) == ("curl", 1, "default")
        assert line["bytes_sent"] == len(answer.body)
        assert isinstance(line["duration_ms"], int)
        assert not {"authority", "reason"} & line.keys()
    assert by["well", "caller"]["cluster"] == "default/store:80"
    assert by["well", "caller"]["host"] == traffic.member(answer.workload).endpoint()
    reasons = {key: each["reason"] for key, each in by.items() if "reason" in each}
    assert reasons == {
        ("no-route", "caller"): "no route matches: no such service, or none that this workload may call",
        ("own", "caller"): "the callee answered so: see its own line",
        ("own", "callee"): "the application itself answered so",
        ("away", "caller"): "the callee answered so: see its own line",
        ("away", "callee"): "the application takes no connection",
    }
    assert by["away", "caller"]["tries"] == 3
    assert by["no-route", "caller"]["caller"] == web, "known although there was no connection"
    for side in ("caller", "callee"):
        line = by["tcp", side]
        assert line["caller"] == traffic.member("dialer").identity
        assert line["callee"] == traffic.member("tcp").identity
        assert line["bytes_received"] == len("ping\n")


async def test_only_what_is_asked_for_is_written(traffic: Traffic, tmp_path: Path) -> None:
    path = tmp_path / "only.log"
    document = policy(
        f"  file: {path}\n  only:\n    errors: true\n    slowerThan: 300ms\n"
        "    callers: [{namespace: default, serviceAccount: web}]\n",
        "{kind: Service, name: store}",
    )
    async with traffic.apply(document):
        await drained(traffic)
        for name, behave in (
            ("fine", "status=200"),
            ("gone", "status=404"),
            ("bad", "status=500"),
            ("slow", "delay=350ms"),
        ):
            for caller in ("web", "probe"):
                await traffic.get(
                    "http://store.mesh/",
                    caller=caller,
                    headers={"x-behave": behave, "x-request-id": f"{name}-{caller}"},
                )
        # Each sidecar writes in order: once this is there, so is whatever was to be written before.
        for _ in range(8):
            await traffic.get(
                "http://store.mesh/", headers={"x-behave": "status=503", "x-request-id": "last"}
            )
        found = await lines(path, lambda each: True, 2 + 8)
    assert Counter(each["request_id"] for each in found) == {"bad-web": 1, "slow-web": 1, "last": 8}
    assert {each["side"] for each in found} == {"callee"}, "a Service policy is for the calls to it"


async def test_a_share_is_of_the_same_requests_on_both_sides(traffic: Traffic, tmp_path: Path) -> None:
    path, sent = tmp_path / "share.log", 300
    async with traffic.apply(policy(f"  file: {path}\n  only: {{percent: 50, errors: true}}\n")):
        await drained(traffic)
        await traffic.many(sent, "http://store.mesh/")
        for _ in range(8):
            await traffic.get(
                "http://store.mesh/", headers={"x-behave": "status=500", "x-request-id": "last"}
            )
        found = await lines(path, lambda each: each.get("request_id") == "last", 16)
        found = await lines(path, lambda each: each.get("request_id") != "last", 1)
    by_side = {
        side: {each["request_id"] for each in found if each["side"] == side} for side in ("caller", "callee")
    }
    assert by_side["caller"] == by_side["callee"]
    assert within(0.5, sent, len(by_side["caller"]))


async def test_lines_of_text_and_a_nearer_policy_that_writes_nothing(
    traffic: Traffic, tmp_path: Path
) -> None:
    path = tmp_path / "text.log"
    document = policy(f'  file: {path}\n  format: text\n  line: "%REQ(X-REQUEST-ID)% %RESPONSE_CODE%"\n')
    silent = policy("  enabled: false\n", "{kind: Workload, name: web-1}", "silent")
    async with traffic.apply(f"{document}---\n{silent}"):
        await drained(traffic)
        await traffic.get("http://store.mesh/", headers={"x-request-id": "text"})

        async def there() -> bool:
            return path.exists() and "text" in path.read_text()

        await eventually(there, "the line", patience=15)
    assert path.read_text() == "text 200\n", "web-1 writes none"


async def test_a_collector_gets_attributes(traffic: Traffic, tmp_path: Path) -> None:
    async with OtlpReceiver() as receiver:
        document = policy(
            f"  otlp: {receiver.address}\n  only: {{callers: [{{namespace: default}}]}}\n",
            "{kind: Service, name: store}",
        )
        async with traffic.apply(document):
            await drained(traffic)
            await traffic.get("http://store.mesh/otlp", headers={"x-request-id": "otlp"})
            (log,) = await receiver.logs(1)
    assert log.resource["service.name"] == "store.default"
    assert log.attributes["caller"] == traffic.member("web").identity
    assert (log.attributes["path"], log.attributes["status"]) == ("/otlp", "200")
    assert log.body == "GET store.mesh/otlp 200"


async def test_a_wrong_operator_never_reaches_a_proxy(traffic: Traffic) -> None:
    with pytest.raises(RefusedError, match="do you mean %RESPONSE_CODE%"):
        async with traffic.apply(policy('  fields: {code: "%RESPONSE_COD%"}\n')):
            pytest.fail("it was taken")
