"""What proxies are given while the mesh moves between trust domains: each end knows the other by either name."""

from __future__ import annotations

from dataclasses import replace

from envoy import clusters, listeners
from envoy.seams import NO_LISTENER_POLICIES
from mesh.views import inbound_view, service_view
from pb.envoy.extensions.transport_sockets.tls.v3.tls_pb2 import DownstreamTlsContext, UpstreamTlsContext
from tests.support.builders import TRUST_DOMAIN, a_key, a_proxy, a_service, a_snapshot, a_state

FORMER = "former.example"
STATE = replace(a_state(), aliases=(FORMER,)).apply(a_snapshot(a_service("api"), a_proxy("api-1")))[0]


def test_a_sidecar_takes_callers_of_both_by_the_server_names_of_both() -> None:
    view = inbound_view(STATE, STATE.workloads[a_key("api-1")])
    (made,) = listeners.inbound(view, NO_LISTENER_POLICIES)
    (chain,) = made.filter_chains
    names = [f"80.api.default.{each}" for each in (TRUST_DOMAIN, FORMER)]
    assert list(chain.filter_chain_match.server_names) == names
    context = DownstreamTlsContext.FromString(chain.transport_socket.typed_config.value)
    checks = context.common_tls_context.combined_validation_context.default_validation_context
    prefixes = [each.matcher.prefix for each in checks.match_typed_subject_alt_names]
    assert prefixes == [f"spiffe://{TRUST_DOMAIN}/", f"spiffe://{FORMER}/"]


def test_a_caller_asks_by_the_name_of_now_and_takes_answers_by_either() -> None:
    view = service_view(STATE, a_key("api"))
    made = clusters.outbound(view, view.ports[0])
    socket = next(each.transport_socket for each in made.transport_socket_matches if each.name == "mtls")
    context = UpstreamTlsContext.FromString(socket.typed_config.value)
    assert context.sni == f"80.api.default.{TRUST_DOMAIN}"
    checks = context.common_tls_context.combined_validation_context.default_validation_context
    accepted = {each.matcher.exact for each in checks.match_typed_subject_alt_names}
    assert accepted == {f"spiffe://{each}/ns/default/sa/api" for each in (TRUST_DOMAIN, FORMER)}
