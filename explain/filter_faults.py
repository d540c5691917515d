"""CORS and faults: filters that answer a request themselves, without asking anybody.

https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/http/http_filters/cors_filter
https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/http/http_filters/fault_filter
"""

from __future__ import annotations

from fractions import Fraction

from google.protobuf.any_pb2 import Any

from explain import matching, route_table
from explain.answer import Ending, Outcome, Source
from explain.local_replies import GRPC_NAMES, STATUS_OF_GRPC, answered
from explain.request import Request
from explain.sight import Passing, Sight
from explain.wording import duration, share
from pb.envoy.config.route.v3.route_components_pb2 import Route
from pb.envoy.extensions.filters.http.cors.v3.cors_pb2 import CorsPolicy
from pb.envoy.extensions.filters.http.fault.v3.fault_pb2 import HTTPFault


def cors(standing: Any, own: Any | None, route: Route | None, request: Request, sight: Sight) -> Passing:
    """Preflights are answered here, whether they are permitted or not; the request itself goes on either way."""
    del standing, route
    origin = request.header("origin")
    if own is None or not origin:
        return Passing(request)
    policy = CorsPolicy.FromString(own.value)
    allowed = any(matching.text(each, origin) for each in policy.allow_origin_string_match)
    sources = () if sight.rule is None else _rule(sight)
    answer = f"origin {origin} is {'' if allowed else 'not '}allowed"
    preflight = request.method == "OPTIONS" and bool(request.header("access-control-request-method"))
    if not preflight or (not allowed and policy.forward_not_matching_preflights.value):
        return Passing(request, (sight.step("cors", answer, (), sources),))
    step = sight.step("cors", f"200: the preflight is answered here: {answer}", (), sources)
    outcome = Outcome(Ending.ANSWERED, 200, why=f"a preflight of CORS: {answer}")
    return Passing(request, (step,), ((Fraction(1), outcome),))


def fault(standing: Any, own: Any | None, route: Route | None, request: Request, sight: Sight) -> Passing:
    del route
    found = HTTPFault.FromString((own if own is not None else standing).value)
    if not all(matching.header(each, request) for each in found.headers):
        return Passing(request)
    details = []
    if found.HasField("delay"):
        of = route_table.percent(found.delay.percentage)
        details.append(f"{share(of)} wait {duration(found.delay.fixed_delay)} first")
    if found.HasField("response_rate_limit"):
        details.append(f"answers are slowed down to {found.response_rate_limit.fixed_limit.limit_kbps} KiB/s")
    if found.HasField("max_active_faults"):
        details.append(f"at most {found.max_active_faults.value} at once")
    sources = sight.said("FaultInjection")
    of = route_table.percent(found.abort.percentage) if found.HasField("abort") else Fraction(0)
    if not of:
        steps = (sight.step("fault", "requests are disturbed on purpose", tuple(details), sources),)
        return Passing(request, steps if details else ())
    grpc = found.abort.grpc_status if found.abort.WhichOneof("error_type") == "grpc_status" else None
    status = STATUS_OF_GRPC.get(grpc, 500) if grpc is not None else found.abort.http_status
    shown = GRPC_NAMES[grpc] if grpc is not None else str(status)
    why = "a fault is injected on purpose"
    remedy = "Delete or narrow the FaultInjection when the experiment is over"
    step = sight.step("fault", f"{share(of)} are answered {shown}: {why}", tuple(details), sources)
    return Passing(request, (step,), ((of, answered(request, status, why, remedy, grpc=grpc)),))


def _rule(sight: Sight) -> tuple[Source, ...]:
    rule = sight.rule
    if rule is None:
        return ()
    return (sight.blame.policy(rule.route.kind, rule.route.key, "spec", "rules", rule.place, "filters"),)
