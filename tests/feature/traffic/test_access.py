"""AccessPolicy beside what the table of `tests/support/access_cases.py` has: claims, gRPC, TCP, what is logged and counted, and when it acts."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc

from policies.access import EXAMPLE
from tests.feature.traffic.test_access_log import lines
from tests.feature.traffic.test_access_log import policy as access_log
from tests.support.access_cases import CLAIMS, OTHER, document
from tests.support.tokens import Issuer
from tests.support.traffic.access import differences
from tests.support.traffic.draining import applied_to_all, drained
from tests.support.traffic.world import Traffic

HOST = "http://other.other.mesh"
TO_OTHER = "kind: Service, name: other, namespace: other"
TO_TCP = "kind: Service, name: tcp"
TO_GRPC = "kind: Service, name: grpc"


def tokens(issuer: Issuer, service: str) -> str:
    """Tokens of `issuer` are verified where they are, and not asked for."""
    return f"""
apiVersion: meshwright.dev/v1alpha1
kind: RequestAuthentication
metadata: {{name: jwt}}
spec:
  targetRefs: [{{{service}}}]
  mode: optional
  issuers: [{{name: main, issuer: '{issuer.name}', audiences: [api], jwks: {{inline: '{issuer.jwks}'}}}}]
"""


async def test_claims(traffic: Traffic) -> None:
    issuer = Issuer()

    def token(claims: Mapping[str, object]) -> str:
        changed: dict[str, Any] = {"sub": None, **claims}
        return issuer.token(**changed)

    async with applied_to_all(traffic, tokens(issuer, TO_OTHER)):
        for rules in CLAIMS:
            assert await differences(traffic, rules, token) == []


async def test_grpc(traffic: Traffic) -> None:
    rule = "{grpc: [{service: test.Echo, method: Say}, {service: test.Other}]}"
    allow = document("only", f"action: allow, rules: [{{to: [{rule}]}}]", TO_GRPC)
    deny = document(
        "never", "action: deny, rules: [{to: [{grpc: [{service: test.Echo, method: Stop}]}]}]", TO_GRPC
    )
    async with traffic.apply(f"{allow}---{deny}"):
        wanted = {
            "/test.Echo/Say": grpc.StatusCode.OK,
            "/test.Echo/Stop": grpc.StatusCode.PERMISSION_DENIED,
            "/test.Echo/SayNot": grpc.StatusCode.PERMISSION_DENIED,
            "/test.Other/Any": grpc.StatusCode.OK,
            "/test.OtherNot/Any": grpc.StatusCode.PERMISSION_DENIED,
        }
        found = {method: (await traffic.grpc("grpc.mesh", method)).code for method in wanted}
        assert found == wanted


async def test_the_log_leads_to_the_policy_and_the_caller_is_told_nothing(
    traffic: Traffic, tmp_path: Path
) -> None:
    path = tmp_path / "access.log"
    documents = [
        access_log(f"  file: {path}\n"),
        document("ok", "action: allow, rules: [{from: [{service: web}]}]", TO_OTHER),
        document("no", "action: deny, rules: [{to: [{paths: [/no]}]}]", TO_OTHER),
        document("trial", "action: deny, dryRun: true, rules: [{to: [{paths: [/trial]}]}]", TO_OTHER),
        document("look", "action: audit, rules: [{to: [{paths: [/look]}]}]", TO_OTHER),
        document("closed", "default: deny", TO_TCP),
        document("look-tcp", "action: audit, rules: [{}]", TO_TCP),
        document("trial-tcp", "action: deny, dryRun: true, rules: [{}]", TO_TCP),
    ]
    before = await traffic.envoy("other").stats(r"\.rbac\.policy\.")
    async with traffic.apply("---".join(documents)):
        await drained(traffic)
        answers = {each: await traffic.get(f"{HOST}/{each}") for each in ("yes", "no", "trial", "look")}
        answers["stranger"] = await traffic.get(f"{HOST}/stranger", caller="probe")
        with contextlib.suppress(OSError, EOFError):
            async with traffic.tcp() as connection:
                await connection.ask("ping")
        assert {name: each.status for name, each in answers.items()} == {
            "yes": 200, "no": 403, "trial": 200, "look": 200, "stranger": 403,
        }  # fmt: skip
        for refused in (answers["no"], answers["stranger"]):
            assert refused.text == "RBAC: access denied"
            assert "default" not in str(refused.headers)
        counted = await traffic.envoy("other").stats(r"\.rbac\.policy\.")

        def here(line: dict[str, Any]) -> bool:
            return bool(line["side"] == "callee")

        found = {each.get("path", "tcp"): each for each in await lines(path, here, len(answers) + 1)}
    told = {
        name: {k: each[k] for k in ("reason", "policy", "would_refuse", "audit") if k in each}
        for name, each in found.items()
    }
    assert told == {
        "/yes": {},
        "/no": {"reason": "an AccessPolicy denies this to the caller", "policy": "default/no"},
        "/trial": {"would_refuse": "default/trial"},
        "/look": {"audit": "default/look"},
        "/stranger": {"reason": "no AccessPolicy allows this to the caller", "policy": "~default/ok"},
        "tcp": {
            "reason": "no AccessPolicy allows this to the caller",
            "would_refuse": "default/trial-tcp",
            "audit": "default/look-tcp",
        },
    }
    assert found["tcp"]["details"] == "rbac_access_denied_matched_policy[~default/closed]"
    assert found["/no"]["details"] == "rbac_access_denied_matched_policy[default/no]"
    counts = {
        name.partition(".rbac.policy.")[2]: count - before.get(name, 0)
        for name, count in counted.items()
        if name.startswith("http.inbound/")
    }
    assert {name: count for name, count in counts.items() if count} == {
        "default/no.denied": 1,
        "default/trial.shadow_denied": 1,
        "default/look.shadow_denied": 1,
        "~default/ok.denied": 1,
    }


async def test_a_change_drains_no_connection_and_holds_for_those_that_are_open(traffic: Traffic) -> None:
    before = await traffic.envoy("other").stats(r"^listener_manager\.(lds|listener)|downstream_cx_total$")
    async with traffic.websocket(f"{HOST}/chat") as chat:
        assert (await traffic.get(HOST + "/")).status == 200
        async with traffic.apply(document("p", "default: deny", TO_OTHER)) as file:
            assert (await traffic.get(HOST + "/")).status == 403
            await file.replace(document("p", "action: allow, rules: [{from: [{service: web}]}]", TO_OTHER))
            assert (await traffic.get(HOST + "/")).status == 200
        assert "other-1" in str((await chat.receive()).data)
        await chat.send_str("still here")
        assert "still here" in str((await chat.receive()).data)
    after = await traffic.envoy("other").stats(r"^listener_manager\.(lds|listener)|downstream_cx_total$")
    changed = {name for name in after if after[name] != before.get(name) and "listener" in name}
    assert not [each for each in changed if each.endswith(("listener_modified", "listener_in_place_updated"))]


async def test_the_example(traffic: Traffic) -> None:
    async with traffic.apply(EXAMPLE):
        assert (await traffic.get("http://store.mesh/items/1")).status == 403
        assert (await traffic.get("http://api.mesh/")).status == 403, "nobody may call what no policy opens"
        assert OTHER.namespace == "other"
        assert (await traffic.get(HOST + "/")).status == 200, "of another namespace"
