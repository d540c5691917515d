"""Random access policies on a real Envoy and on the evaluator: the same verdict, of the same policy, for random callers and requests.

One Envoy has a route for each set of policies, chosen by a header, and takes mutual TLS and plaintext. Claims are put where the filter
that verifies tokens would put them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from google.protobuf.json_format import ParseDict

from envoy import packing, tls
from envoy.render import Rendered
from envoy.seams import add_filters
from pb.envoy.config.listener.v3.listener_pb2 import Listener
from pb.envoy.config.route.v3.route_components_pb2 import Route
from pb.envoy.extensions.filters.http.lua.v3.lua_pb2 import Lua
from pb.envoy.extensions.filters.http.router.v3.router_pb2 import Router
from pb.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from pb.envoy.extensions.transport_sockets.tls.v3.tls_pb2 import DownstreamTlsContext
from policies import access_messages
from policies.access_rules import Plan
from policies.access_verdict import Request, Verdict, decided
from tests.support.access_random import CLAIMS, IDENTITIES, Draw, planned
from tests.support.envoy_certificates import TestAuthority
from tests.support.envoy_static import envoy
from tests.support.ports import free_ports

SETS, REQUESTS = 120, 15
SET, WHO = "x-set", "x-who"
METADATA = "envoy.filters.http.rbac"


def lua(value: object) -> str:
    """A literal."""
    match value:
        case bool():
            return str(value).lower()
        case dict():
            return "{" + ", ".join(f"[{lua(key)}] = {lua(each)}" for key, each in value.items()) + "}"
        case list():
            return "{" + ", ".join(map(lua, value)) + "}"
        case _:
            return json.dumps(value)


SCRIPT = f"""
local known = {lua(CLAIMS)}
function envoy_on_request(handle)
  local claims = known[handle:headers():get("{WHO}")]
  if claims then
    handle:streamInfo():dynamicMetadata():set("{access_messages.JWT}", "{access_messages.PAYLOAD}", claims)
  end
end
"""


def manager(plans: Iterable[Plan]) -> HttpConnectionManager:
    """As that of a sidecar, as far as access goes. Each answer tells what the filter said of the request."""
    made = HttpConnectionManager(stat_prefix="in")
    made.normalize_path.value = True
    made.forward_client_cert_details = HttpConnectionManager.SANITIZE_SET
    host = made.route_config.virtual_hosts.add()
    host.name = "all"
    host.domains.append("*")
    for number, each in enumerate(plans):
        route = Route.FromString(access_messages.on_routes(each).route)
        route.match.prefix = ""
        route.match.headers.add(name=SET).string_match.exact = str(number)
        route.direct_response.status = 200
        host.routes.append(route)
    script = made.http_filters.add()
    script.name = "envoy.filters.http.lua"
    config = Lua()
    config.default_source_code.inline_string = SCRIPT
    packing.pack(script.typed_config, config)
    add_filters(made, access_messages.standing())
    router = made.http_filters.add()
    router.name = "envoy.filters.http.router"
    packing.pack(router.typed_config, Router())
    ParseDict(
        {"json_format": {"access": f"%DYNAMIC_METADATA({METADATA})%", "details": "%RESPONSE_CODE_DETAILS%"}},
        made.local_reply_config.body_format,
    )
    return made


def listener(port: int, handler: HttpConnectionManager, *, secure: bool) -> Rendered:
    made = Listener(name="secure" if secure else "plain")
    packing.listen_on(made.address, "127.0.0.1", port)
    chain = made.filter_chains.add()
    if secure:
        tls.downstream(chain.transport_socket, trust_domains=["mesh.test"])
        # Whom a sidecar lets in at all is not the question here.
        context = DownstreamTlsContext.FromString(chain.transport_socket.typed_config.value)
        validation = context.common_tls_context.combined_validation_context.default_validation_context
        validation.ClearField("match_typed_subject_alt_names")
        packing.pack(chain.transport_socket.typed_config, context)
    added = chain.filters.add()
    added.name = "envoy.filters.network.http_connection_manager"
    packing.pack(added.typed_config, handler)
    return Rendered(packing.LDS, made.name, made.SerializeToString(deterministic=True))


class Connection:
    """One that stays open: raw bytes, so that nothing is tidied up on the way."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def ask(self, number: int, request: Request, who: str) -> tuple[int, Mapping[str, Any]]:
        lines = [f"{request.method} {request.path} HTTP/1.1", f"host: {request.host}", f"{SET}: {number}"]
        lines += [f"{WHO}: {who}"] if who else []
        lines += [f"{name}: {value}" for name, value in request.headers]
        self._writer.write(("\r\n".join(lines) + "\r\ncontent-length: 0\r\n\r\n").encode("latin-1"))
        head = (await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), 10)).decode()
        status, *lines = head.split("\r\n")
        answered = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in lines)}
        body = (await self._reader.readexactly(int(answered["content-length"]))).decode()
        if "grpc-status" in answered:  # an answer of 200, whatever it says
            code = 403 if answered["grpc-status"] == "7" else 200
            return code, json.loads(unquote(answered["grpc-message"]))
        return int(status.split(" ")[1]), json.loads(body) if body else {}

    def close(self) -> None:
        self._writer.close()


@contextlib.asynccontextmanager
async def connections(
    ports: tuple[int, int], authority: TestAuthority, folder: Path
) -> AsyncIterator[Mapping[str | None, Connection]]:
    """One for each identity, and one in plaintext."""
    found: dict[str | None, Connection] = {}
    try:
        found[None] = Connection(*await asyncio.open_connection("127.0.0.1", ports[0]))
        for number, identity in enumerate(IDENTITIES):
            leaf, path = authority.leaf(identity), folder / f"{number}.pem"
            path.touch(mode=0o600)
            path.write_bytes(leaf.certificate + leaf.key)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.load_cert_chain(path)
            found[identity] = Connection(*await asyncio.open_connection("127.0.0.1", ports[1], ssl=context))
        yield found
    finally:
        for each in found.values():
            each.close()


def verdict(status: int, told: Mapping[str, Any]) -> Verdict:
    """Of what is refused, the metadata comes too late for the answer."""
    if status == 403:
        return Verdict(told["details"].removeprefix("rbac_access_denied_matched_policy[").removesuffix("]"))
    assert status == 200, told
    said = told["access"] or {}
    return Verdict(
        said.get("enforced_effective_policy_id", ""),
        said.get("dry_run_shadow_effective_policy_id", ""),
        said.get("audit_shadow_effective_policy_id", ""),
    )


@pytest.mark.parametrize("seed", [1, 2])
async def test_envoy_and_the_evaluator_say_the_same(seed: int, tmp_path: Path) -> None:
    draw = Draw(seed)
    sets = [draw.policies() for _ in range(SETS)]
    plans = [planned(each) for each in sets]
    authority, (plain, secure) = TestAuthority(), free_ports(2)
    handler = manager(plans)
    resources = [listener(plain, handler, secure=False), listener(secure, handler, secure=True)]
    secrets = authority.secrets(IDENTITIES[0])
    different: list[object] = []
    refused = 0
    async with (
        envoy(tmp_path, "access", resources, secrets),
        connections((plain, secure), authority, tmp_path) as open_,
    ):
        for number, plan in enumerate(plans):
            for _ in range(REQUESTS):
                caller, request = draw.caller(), draw.request()
                who = next((name for name, claims in CLAIMS.items() if claims is request.claims), "")
                found = verdict(*await open_[caller.identity].ask(number, request, who))
                wanted = decided(plan, caller, request)
                if not wanted.allowed:
                    wanted = Verdict(wanted.by)
                refused += not wanted.allowed
                if found != wanted:
                    different.append((caller, request, sets[number], found, wanted))
    assert different == []
    assert SETS * REQUESTS / 10 < refused < SETS * REQUESTS * 9 / 10, "both happen often"


def test_the_order_of_policies_does_not_matter() -> None:
    draw = Draw(3)
    for _ in range(200):
        policies = draw.policies()
        order = draw.some(range(len(policies)), len(policies))
        order += [each for each in range(len(policies)) if each not in order]
        assert planned(policies, order) == planned(policies)
        one, other = (
            access_messages.on_routes(each) for each in (planned(policies), planned(policies, order))
        )
        assert one == other
