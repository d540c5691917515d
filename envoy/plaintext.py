"""Calls without mesh TLS on a port that takes mesh TLS, too: what takes them, and how the control plane learns of them.

The two are told apart by the listener: its TLS inspector reads a ClientHello, and mesh TLS is whatever asks for the server name of what
is served. Of all else, TLS is the application's own and passed on untouched, where the port is not one of HTTP; what is no TLS is taken
as the port's protocol says. Nothing is known of who calls: headers that a sidecar would vouch for are removed, and policies that ask for
an identity find none.
https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/listeners/listener_filters/tls_inspector
"""

from __future__ import annotations

from collections.abc import Sequence

from envoy import connection, names
from envoy.reported import Handler, reported
from envoy.seams import ListenerSeams, Parts
from mesh.views import InboundPort, Served
from pb.envoy.config.accesslog.v3.accesslog_pb2 import AccessLog, AccessLogFilter
from pb.envoy.config.listener.v3.listener_components_pb2 import FilterChain
from pb.envoy.config.listener.v3.listener_pb2 import Listener
from pb.envoy.data.accesslog.v3.accesslog_pb2 import AccessLogType

SILENCE = 5
"""Seconds that a client may say nothing before it counts as one that speaks no TLS, and waits for the server to begin. As long as a
caller of the mesh gives its whole handshake."""

REMINDER = 300
"""Seconds between two reports of a connection, or of a stream, that stays open."""

HTTP_START = AccessLogType.DownstreamStart, AccessLogType.DownstreamPeriodic
HTTP_END = (AccessLogType.DownstreamEnd,)
TCP_ALL = (
    AccessLogType.TcpUpstreamConnected,
    AccessLogType.TcpPeriodic,
    AccessLogType.TcpConnectionEnd,
)
TCP_END = (AccessLogType.TcpConnectionEnd,)


def wait_for_the_silent(made: Listener) -> None:
    """Constant for a listener: a change of these would drain its connections whenever a port becomes permissive."""
    made.listener_filters_timeout.seconds = SILENCE
    made.continue_on_listener_filters_timeout = True


def taken(port: InboundPort, seams: ListenerSeams) -> bool:
    """Whether all that is served on `port` is willing, and the same application: plaintext does not say for which of several it is."""
    chains = (seams.chain(names.inbound_chain(each.service, each.port)) for each in port.served)
    return port.one_application and all(parts.plaintext for parts in chains)


def add_chains(
    made: Listener, port: InboundPort, seams: ListenerSeams, destination: int | None = None
) -> None:
    """Make `made` take plaintext on `port`, if it does. `destination`: where an intercepted connection was going."""
    if not taken(port, seams):
        return
    served = port.served[0]
    parts = seams.chain(names.inbound_chain(served.service, served.port))
    plain = _chain(made, names.plaintext_chain(served.service, served.port), "raw_buffer", destination)
    if served.port.protocol.is_http:
        _http(plain, served, seams, parts)
        return
    _tcp(plain, served, parts, names.PLAINTEXT_LOG)
    _tcp(
        _chain(made, names.own_tls_chain(served.service, served.port), "tls", destination),
        served,
        parts,
        names.OWN_TLS_LOG,
    )


def _chain(made: Listener, name: str, transport: str, destination: int | None) -> FilterChain:
    chain = made.filter_chains.add()
    chain.name = name
    chain.filter_chain_match.transport_protocol = transport
    if destination is not None:
        chain.filter_chain_match.destination_port.value = destination
    return chain


def _http(chain: FilterChain, served: Served, seams: ListenerSeams, parts: Parts) -> None:
    cluster = names.inbound_cluster(served.app_port, served.port.protocol, captured=served.captured)
    route = names.inbound_route(served.service, served.port)
    manager = connection.to_application(names.plaintext(cluster), route, parts, seams.filters, proved=False)
    _only(manager.access_log, HTTP_END)
    manager.access_log_options.flush_access_log_on_new_request = True
    manager.access_log_options.access_log_flush_interval.seconds = REMINDER
    _log(manager, names.PLAINTEXT_LOG, HTTP_START)
    connection.http_chain(chain, manager, parts)


def _tcp(chain: FilterChain, served: Served, parts: Parts, log: str) -> None:
    cluster = names.inbound_cluster(served.app_port, served.port.protocol, captured=served.captured)
    proxy = connection.tcp_to(names.plaintext(cluster), (cluster, 1), parts=parts, log=names.SERVED_LOG)
    _only(proxy.access_log, TCP_END)
    proxy.access_log_options.flush_access_log_on_connected = True
    proxy.access_log_options.access_log_flush_interval.seconds = REMINDER
    _log(proxy, log, TCP_ALL)
    connection.tcp_chain(chain, proxy, parts)


def _only(logs: Sequence[AccessLog], types: Sequence[AccessLogType.ValueType]) -> None:
    """What policies log is still logged once, at the end, though Envoy now writes at the start, too."""
    for each in logs:
        said = AccessLogFilter()
        said.CopyFrom(each.filter)
        each.ClearField("filter")
        at_end = AccessLogFilter()
        at_end.log_type_filter.types.extend(types)
        if said.ByteSize():
            each.filter.and_filter.filters.extend((said, at_end))
        else:
            each.filter.CopyFrom(at_end)


def _log(handler: Handler, log: str, types: Sequence[AccessLogType.ValueType]) -> None:
    reported(handler, log).filter.log_type_filter.types.extend(types)
