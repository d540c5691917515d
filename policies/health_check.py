"""HealthCheck: every caller asks the endpoints of a service, again and again, whether they are well. Enforced by the caller.

https://www.envoyproxy.io/docs/envoy/v1.40.0/intro/arch_overview/upstream/health_checking
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, WithJsonSchema

from documents.envelope import Part, Problem, wrong
from documents.gateway_api.common import HeaderName, HeaderValue, PreciseHostname
from envoy.seams import Parts, serialised
from mesh.targeting import Level
from pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from pb.envoy.config.core.v3.base_pb2 import HeaderValueOption, RequestMethod
from pb.envoy.config.core.v3.health_check_pb2 import HealthCheck as Message
from policies.document import PolicyDocument, Targeting
from policies.fields import Percent, Positive, PositiveDuration, set_duration
from policies.kind import ANYWHERE, PolicyKind, Side, Where

EXAMPLE: Final = """\
apiVersion: meshwright.dev/v1alpha1
kind: HealthCheck
metadata: {name: api}
spec:
  targetRefs: [{kind: Service, name: api}]
  interval: 5s
  timeout: 1s
  unhealthyThreshold: 3
  healthyThreshold: 2
  http: {path: /healthz, statuses: [200, 204]}
"""

INTERVAL = "10s"
TIMEOUT = "2s"
JITTER_PERCENT = 10
_STATUSES = re.compile(r"([1-5]\d\d)-([1-5]\d\d)")


def _path(text: str) -> str:
    if not text.startswith("/") or any(each <= " " or each == "\x7f" for each in text):
        raise wrong(f"{text!r} is not a path", "Begin it with / and leave out spaces")
    return text


def _statuses(value: int | str) -> int | str:
    _range(value)
    return value


def _range(value: int | str) -> tuple[int, int]:
    """The first status and the one after the last."""
    if isinstance(value, int):
        if 100 <= value <= 599:
            return value, value + 1
    else:
        found = _STATUSES.fullmatch(value)
        if found and found[1] <= found[2]:
            return int(found[1]), int(found[2]) + 1
    raise wrong(f"{value!r} is no HTTP status", "Use a number like 200, or a range like 200-299")


def _hex(text: str) -> str:
    try:
        if bytes.fromhex(text):
            return text
    except ValueError:
        pass
    raise wrong(f"{text!r} is not hexadecimal", 'Use two digits for each byte, in quotes, like "50494e47"')


Path = Annotated[str, AfterValidator(_path), WithJsonSchema({"type": "string", "pattern": "^/"})]
Statuses = Annotated[int | str, AfterValidator(_statuses)]
Hex = Annotated[
    str, AfterValidator(_hex), WithJsonSchema({"type": "string", "pattern": "^([0-9a-fA-F]{2})+$"})
]
Method = Literal["GET", "HEAD", "OPTIONS", "POST"]


class HttpCheckFields(Part):
    path: Path | None = Field(None, description="What is asked for. Default `/`.")
    host: PreciseHostname | None = Field(
        None,
        description="The host name asked for. By default `<service>.<namespace>.mesh`, or the host of an ExternalService.",
    )
    method: Method | None = Field(None, description="Default GET.")
    statuses: list[Statuses] | None = Field(
        None,
        min_length=1,
        description="Statuses of a healthy endpoint: numbers, or ranges such as `200-299`. Default 200 alone.",
    )
    headers: dict[HeaderName, HeaderValue] | None = Field(
        None, description="Further headers of the request, by name."
    )


class GrpcCheckFields(Part):
    service: str | None = Field(
        None,
        max_length=256,
        description="The `service` of the request of the gRPC health checking protocol "
        "(https://github.com/grpc/grpc/blob/master/doc/health-checking.md). By default empty: the server as a whole.",
    )


class TcpCheckFields(Part):
    send: Hex | None = Field(
        None, description="Bytes to send, in hexadecimal and in quotes. By default none."
    )
    receive: list[Hex] | None = Field(
        None,
        min_length=1,
        description="Bytes that must come, in hexadecimal and in quotes, in this order; others may come between. By default a connection alone is "
        "enough, which through a sidecar says that the sidecar is there, not that its application is.",
    )


class HealthCheckFields(Part):
    type: Literal["HTTP", "GRPC", "TCP"] | None = Field(
        None,
        description="How endpoints are asked. By default as the one of `http`, `grpc` and `tcp` that is given; else as the port's own protocol "
        "is. A port that cannot be asked that way is asked for a TCP connection.",
    )
    interval: PositiveDuration | None = Field(
        None, description="Between the end of one check and the next. Default 10s."
    )
    timeout: PositiveDuration | None = Field(
        None, description="A check without an answer by then has failed. Default 2s."
    )
    unhealthy_threshold: Positive | None = Field(
        None,
        description="Failed checks in a row until an endpoint gets no traffic. An HTTP status that is not expected counts at once. Default 3.",
    )
    healthy_threshold: Positive | None = Field(
        None,
        description="Passed checks in a row until it gets traffic again; the first of all counts at once. Default 2.",
    )
    jitter_percent: Percent | None = Field(
        None,
        description="Each interval is longer by up to this percentage, at random, so that callers do not ask in step. Default 10.",
    )
    unhealthy_interval: PositiveDuration | None = Field(
        None, description="The interval for endpoints that are not healthy. By default `interval`."
    )
    no_traffic_interval: PositiveDuration | None = Field(
        None,
        description="The interval while the caller has never called the service. By default `interval`, where Envoy's own is 60s.",
    )
    reuse_connection: bool | None = Field(
        None, description="Keep the connection for the next check. Default true."
    )
    http: HttpCheckFields | None = Field(None, description="For checks by HTTP.")
    grpc: GrpcCheckFields | None = Field(None, description="For checks by gRPC.")
    tcp: TcpCheckFields | None = Field(None, description="For checks by TCP.")


class HealthCheckSpec(Targeting, HealthCheckFields):
    pass


class HealthCheck(PolicyDocument):
    """Each caller's sidecar asks each endpoint of the service, through mesh TLS where it has a sidecar, and sends traffic to the healthy ones.

    This is besides what the registry says: whom that calls critical gets no traffic at all, nor checks. Checks pass the callee's
    policies as other requests of that caller do: who may not call is told that nobody is healthy. With many callers and endpoints, checks are many:
    one for each pair in each interval. An ExternalService with a wildcard is not checked. When fewer than the panic threshold are healthy (see LoadBalancing; by default half), Envoy
    sends to all.
    """

    api_version: Literal["meshwright.dev/v1alpha1"]
    kind: Literal["HealthCheck"]
    spec: HealthCheckSpec

    def own_problems(self) -> Iterator[Problem]:
        spec = self.spec
        for name in ("http", "grpc", "tcp"):
            if spec.type is not None and name != spec.type.lower() and getattr(spec, name) is not None:
                yield Problem(
                    ("spec", name),
                    f"it has no effect on checks of type {spec.type}",
                    f"Remove it, or use type: {name.upper()}",
                )


def effect(fields: HealthCheckFields, where: Where) -> Parts:
    """One check for each way in which a port may have to be asked, the wanted one first: `envoy.clusters` keeps that which suits the
    port, and says the host.
    """
    if where.route:
        return Parts()  # endpoints are a service's
    cluster = Cluster()
    # Whom the registry removes is gone at once; Envoy would keep it for as long as its checks pass.
    cluster.ignore_health_on_host_removal = True
    wanted = fields.type or _only_section(fields)
    for way in (
        (wanted, "TCP") if wanted in {"HTTP", "GRPC"} else ("TCP",) if wanted else ("GRPC", "HTTP", "TCP")
    ):
        made = cluster.health_checks.add()
        _pace(made, fields)
        match way:
            case "HTTP":
                _http(made.http_health_check, fields.http)
            case "GRPC":
                made.grpc_health_check.service_name = (fields.grpc and fields.grpc.service) or ""
            case _:
                _tcp(made.tcp_health_check, fields.tcp)
    return Parts(cluster=serialised(cluster))


def _only_section(fields: HealthCheckFields) -> str | None:
    given = [name.upper() for name in ("http", "grpc", "tcp") if getattr(fields, name) is not None]
    return given[0] if len(given) == 1 else None


def _pace(made: Message, fields: HealthCheckFields) -> None:
    interval = fields.interval or INTERVAL
    set_duration(made.interval, interval)
    set_duration(made.timeout, fields.timeout or TIMEOUT)
    set_duration(made.no_traffic_interval, fields.no_traffic_interval or interval)
    if fields.unhealthy_interval is not None:
        set_duration(made.unhealthy_interval, fields.unhealthy_interval)
    made.unhealthy_threshold.value = fields.unhealthy_threshold or 3
    made.healthy_threshold.value = fields.healthy_threshold or 2
    percent = fields.jitter_percent
    made.interval_jitter_percent = JITTER_PERCENT if percent is None else round(percent)
    made.reuse_connection.value = fields.reuse_connection is not False


def _http(made: Message.HttpHealthCheck, fields: HttpCheckFields | None) -> None:
    made.path, made.method = "/", RequestMethod.GET
    if fields is None:
        return
    if fields.host is not None:
        made.host = fields.host
    if fields.path is not None:
        made.path = fields.path
    if fields.method is not None:
        made.method = RequestMethod.Value(fields.method)
    for value in fields.statuses or ():
        start, end = _range(value)
        made.expected_statuses.add(start=start, end=end)
    for name, value in (fields.headers or {}).items():
        added = made.request_headers_to_add.add()
        added.header.key, added.header.value = name, value
        added.append_action = HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD


def _tcp(made: Message.TcpHealthCheck, fields: TcpCheckFields | None) -> None:
    made.SetInParent()
    if fields is None:
        return
    if fields.send is not None:
        made.send.text = fields.send
    for each in fields.receive or ():
        made.receive.add(text=each)


KIND = PolicyKind(
    HealthCheck,
    HealthCheckFields,
    Side.CALLER,
    effect,
    levels=ANYWHERE - {Level.WORKLOAD, Level.ROUTE},
)
