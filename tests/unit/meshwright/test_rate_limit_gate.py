"""Who may have what counted. With the real authority and real certificates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from immutables import Map

from mesh.events import Declared, SourceUpdate
from mesh.identity import Identity
from mesh.names import Key
from mesh.policy import Policy
from mesh.state import MeshState
from mesh.targeting import TargetRef
from meshwright.doors import CERTIFICATE
from meshwright.rate_limit_gate import NOT_COUNTED, PLAINTEXT, RateLimitGate
from policies.rate_limit_messages import LIMIT_KEY, POLICY_KEY
from ratelimit.limits import Descriptor
from tests.support.builders import TRUST_DOMAIN, a_service, a_state, a_workload
from tests.support.ca_builders import Credentials, an_authority

API, WEB = Key("default", "api-1"), Key("default", "web-1")
HERE = Policy("RateLimit", Key("default", "here"), (TargetRef.service(Key("default", "api")),), Map())


def a_world(*targets: TargetRef) -> MeshState:
    state = a_state(a_service("api"), a_service("web"), a_workload("api-1"), a_workload("web-1"))
    policy = Policy("RateLimit", Key("default", "limit"), targets, Map())
    declared = tuple(Declared(each.kind, each) for each in (policy, HERE))
    return state.apply(SourceUpdate("test", declared=declared))[0]


def asked(policy: str = "default/limit", hits: int = 1) -> Descriptor:
    return Descriptor(((POLICY_KEY, policy), (LIMIT_KEY, "100/hour")), hits)


async def shown(directory: Path, workload: Key | None, account: str) -> Mapping[str, tuple[bytes, ...]]:
    """What gRPC says of a connection with a certificate."""
    authority = an_authority(directory, trust_domain=TRUST_DOMAIN)
    made = await Credentials.issue(authority, Identity(TRUST_DOMAIN, "default", account), workload)
    return {CERTIFICATE: (made.chain,)}


@pytest.mark.parametrize(
    ("target", "of_web"),
    [
        (TargetRef.mesh(), True),
        (TargetRef.of_namespace("default"), True),
        (TargetRef.of_namespace("other"), False),
        (TargetRef.service(Key("default", "web")), True),
        (TargetRef.service(Key("default", "api")), False),
        (TargetRef.workload(WEB), True),
        (TargetRef.workload(API), False),
    ],
)
async def test_a_workload_draws_on_what_concerns_it(tmp_path: Path, target: TargetRef, of_web: bool) -> None:
    gate, auth = RateLimitGate(lambda: a_world(target)), await shown(tmp_path, WEB, "web")
    for _ in range(2):  # the second time by the certificate that is remembered
        domain, (found,) = gate(auth, "mesh", [asked()])
        assert (domain, found) == ("mesh", asked() if of_web else NOT_COUNTED)


async def test_what_is_nobodys_is_not_counted(tmp_path: Path) -> None:
    world = a_world(TargetRef.mesh())
    gate, web = RateLimitGate(lambda: world), await shown(tmp_path, WEB, "web")
    both = Descriptor((*asked().entries, (POLICY_KEY, "default/here")))
    for each in (asked("default/gone"), asked("/"), asked(""), asked("default/here"), both):
        assert gate(web, "mesh", [each]) == ("mesh", (NOT_COUNTED,))
    assert gate(web, "mesh", [asked("default/here"), asked()]) == ("mesh", (NOT_COUNTED, asked()))
    own = Descriptor((("mine", "x"),))
    assert gate(web, "mesh", [own]) == ("mesh", (own,))


async def test_who_is_another_or_nobody_has_nothing_counted(tmp_path: Path) -> None:
    gate = RateLimitGate(lambda: a_world(TargetRef.mesh()))
    for workload, account in ((WEB, "store"), (Key("default", "unknown"), "web"), (None, "web")):
        auth = await shown(tmp_path, workload, account)
        assert gate(auth, "mesh", [asked()]) == ("mesh", (NOT_COUNTED,))


async def test_one_request_is_one_hit(tmp_path: Path) -> None:
    gate, auth = RateLimitGate(lambda: a_world(TargetRef.mesh())), await shown(tmp_path, WEB, "web")
    assert gate(auth, "mesh", [asked(hits=100_000), asked(hits=0)])[1] == (asked(), asked(hits=0))


def test_what_is_asked_in_plaintext_is_counted_apart() -> None:
    gate = RateLimitGate(lambda: a_world(TargetRef.mesh()))
    assert gate({}, "mesh", [asked(hits=9)]) == (f"{PLAINTEXT}mesh", (asked(),))


async def test_by_either_name_of_the_mesh_it_is_one_count(tmp_path: Path) -> None:
    moved = replace(a_world(TargetRef.mesh()), trust_domain="new.example", aliases=(TRUST_DOMAIN,))
    gate, held = RateLimitGate(lambda: moved), await shown(tmp_path, WEB, "web")
    for domain in (TRUST_DOMAIN, "new.example"):
        assert gate(held, domain, [asked()]) == ("new.example", (asked(),))
    strange = replace(moved, aliases=())
    assert RateLimitGate(lambda: strange)(held, "new.example", [asked()]) == ("new.example", (NOT_COUNTED,))
