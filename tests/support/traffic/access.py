"""Sets of access rules, and calls, on the sidecars of the shared mesh, and on the evaluator: both are asked the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from policies.access_verdict import verdict
from tests.support.access_cases import Case, RuleSet, port, state
from tests.support.traffic.world import Traffic

Token = Callable[[Mapping[str, object]], str]


async def differences(traffic: Traffic, rules: RuleSet, token: Token | None = None) -> list[str]:
    """What real sidecars, or the evaluator, say otherwise than the table. `token` makes the bearer token that has some claims."""
    found: list[str] = []
    mesh = state(rules.documents())
    expected: Counter[str] = Counter()
    async with traffic.apply(rules.documents()):
        before = await refusals(traffic)
        for case in rules.cases:
            by = rules.refused_by(case)
            expected[by] += 1
            told = verdict(mesh, rules.service, port(mesh, rules.service), case.who, case.request).by
            status = await _status(traffic, case, token)
            if (status, told) != (403 if by else 200, by):
                found.append(f"{rules.name}: {case}: {status}, the evaluator says {told!r}")
        counted = await refusals(traffic) - before
    del expected[""]
    if counted != expected:
        found.append(f"{rules.name}: refused by {dict(counted)}, not {dict(expected)}")
    return found


async def refusals(traffic: Traffic, workload: str = "other") -> Counter[str]:
    """How many requests a sidecar has refused, by the name that Envoy gave as the reason."""
    found: Counter[str] = Counter()
    for name, count in (await traffic.envoy(workload).stats(r"\.rbac\.policy\.")).items():
        if name.startswith("http.inbound/") and name.endswith(".denied"):
            found[name.partition(".rbac.policy.")[2].removesuffix(".denied")] += count
    return +found


async def _status(traffic: Traffic, case: Case, token: Token | None) -> int:
    headers = list(case.said)
    if case.claims is not None:
        assert token is not None
        headers.append(("authorization", f"Bearer {token(case.claims)}"))
    answer = await traffic.get(
        f"http://{case.host}{case.path}", method=case.method, caller=case.caller, headers=headers
    )
    return answer.status
