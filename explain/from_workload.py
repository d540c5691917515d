"""A request of a workload: by host name, by a virtual address or a local port; or by itself, where it has no sidecar."""

from __future__ import annotations

from envoy import names
from explain import connections, upstream
from explain.answer import Branch, Step
from explain.asking import in_chain, port_of, the_request, words_of
from explain.callers import caller_of
from explain.connections import Dialled
from explain.local_replies import closed
from explain.nowhere import unknown_host
from explain.question import Question, Unaskable
from explain.rbac import Peer
from explain.request import Request
from explain.resources import Resources
from explain.sight import Sight
from explain.upstream import Target
from explain.walk import Walk
from explain.world import World
from mesh.names import DEFAULT_PORT, Key, hostnames
from mesh.service import Service, ServicePort
from mesh.state import MeshState
from mesh.views import OutboundScope
from mesh.workload import Workload
from pb.envoy.config.listener.v3.listener_components_pb2 import FilterChain
from pb.envoy.config.listener.v3.listener_pb2 import Listener
from policies import egress

EGRESS = egress.KIND.name


def from_workload(world: World, walk: Walk, question: Question) -> tuple[str, Branch]:
    if not question.to and not question.authority and question.local_port is None:
        raise Unaskable("it is not said who is called: give --to, or --to-gateway for a client outside")
    state, caller = world.state, caller_of(world.state, question.caller)
    host, service = _called(state, caller, question)
    port = _port(service, question)
    authority = question.authority or _authority(host, port)
    number = port.port if port is not None else question.port or DEFAULT_PORT
    tcp = question.tcp or (port is not None and not port.protocol.is_http)
    request = None if tcp else the_request(question, authority, "http")
    shown = f"{caller.key} connects to {host}:{number}" if tcp else f"{caller.key} asks {words_of(request)}"
    sight = _sight(world, caller)
    if not caller.meshed:
        return shown, _without_sidecar(world, walk, caller, service, port, request, sight)
    resources = world.resources(caller)
    listener = _listener(resources, caller, service, port, question)
    if listener is None and caller.interception is None and tcp:
        return shown, _no_way_in(caller, service, sight)
    if listener is None:
        listener = names.OUTBOUND
    held = resources.listener(listener)
    if held is None:
        why = f"the proxy has no listener {listener}"
        outcome = closed(why, "Look at `meshwright status`: has it been given its listeners?")
        return shown, Branch((sight.step("listener", why),), outcome)
    address = _dialled_address(caller, service, listener)
    chain = connections.chain(held.message, Dialled(address, port_of(held.message)))
    if chain is None:
        why = "nothing takes connections to that address: unknown ones are refused"
        step = sight.step("listener", why, (), sight.said(EGRESS))
        return shown, Branch((step,), closed(why, "Declare it as an ExternalService"))
    step = sight.step("listener", _words(held.message, chain), (), world.provenance.workload(caller.key))
    return shown, in_chain(walk, chain, resources, request, sight, caller).after(step)


def _sight(world: World, caller: Workload) -> Sight:
    return Sight(caller.key, Peer(None, "127.0.0.1"), world.blame(caller))


def _called(state: MeshState, caller: Workload, question: Question) -> tuple[str, Service | None]:
    """The host as it is said, and the service that it means, if it means one."""
    if question.local_port is not None:
        use = next((each for each in caller.uses or () if each.local_port == question.local_port), None)
        if use is None:
            raise Unaskable(
                f"workload {caller.key} has no local port {question.local_port}: its document says under `uses` which it has"
            )
        return hostnames(use.service, caller.key.namespace)[0], state.services.get(use.service)
    to = question.to or question.authority.partition(":")[0]
    if "/" in to:
        key = Key.parse(to)
        if key not in state.services:
            raise Unaskable(f"there is no service {key}: `meshwright services` lists those there are")
        outside = state.services[key].external
        return (
            outside.host if outside is not None and outside.host else hostnames(key, "")[0]
        ), state.services[key]
    host = to.partition(":")[0]
    for key, service in state.services.items():
        if host.lower() in hostnames(key, caller.key.namespace):
            return to, service
    claims = state.hosts.get(host.lower(), ())
    return to, state.services.get(claims[0]) if claims else None


def _port(service: Service | None, question: Question) -> ServicePort | None:
    """The port that is meant: the one that is said, else 80, else the only one of what is spoken."""
    if service is None:
        return None
    said = question.port
    _, colon, in_host = question.to.partition(":")
    if said is None and colon and in_host.isdigit():
        said = int(in_host)
    ports = [each for each in service.ports if each.protocol.is_http != question.tcp] or list(service.ports)
    if said is not None:
        return next((each for each in service.ports if each.port == said), None)
    if question.authority and not question.tcp:
        return None
    usual = next((each for each in ports if each.port == DEFAULT_PORT), None)
    return usual or (ports[0] if ports else None)


def _authority(host: str, port: ServicePort | None) -> str:
    if port is None or port.port == DEFAULT_PORT or ":" in host:
        return host
    return f"{host}:{port.port}"


def _listener(
    resources: Resources,
    caller: Workload,
    service: Service | None,
    port: ServicePort | None,
    question: Question,
) -> str | None:
    """The name of the listener that the call comes to; None for the one of all host names."""
    if question.local_port is not None:
        return names.outbound_local(question.local_port)
    if service is not None and port is not None:
        if caller.interception is not None:
            name = names.virtual(service.key, port.port)
            return name if resources.listener(name) is not None else None
        for use in caller.uses or ():
            wanted = port.name if use.port is None else use.port
            if (
                use.service == service.key
                and use.local_port
                and wanted == port.name
                and not port.protocol.is_http
            ):
                return names.outbound_local(use.local_port)
    return None


def _dialled_address(caller: Workload, service: Service | None, listener: str) -> str:
    if caller.interception is None or listener != names.OUTBOUND:
        return "127.0.0.1"
    return service.virtual_address if service is not None else "192.0.2.1"


def _words(listener: Listener, chain: FilterChain) -> str:
    address = listener.address.socket_address
    where = f"{address.address}:{address.port_value}"
    if listener.HasField("default_filter_chain") and chain == listener.default_filter_chain:
        return f"whatever no service has the address of, by {where}"
    if listener.name == names.OUTBOUND:
        return f"HTTP by host name, on {where}"
    if listener.name.startswith("virtual/"):
        return f"the virtual address {where}"
    return f"{listener.name}, on {where}"


def _no_way_in(caller: Workload, service: Service | None, sight: Sight) -> Branch:
    name = "it" if service is None else f"service {service.key}"
    why = f"{caller.key} has no local port that leads to {name}, and its traffic is not intercepted"
    known = "" if service is None else f" {{service: {service.key.name}, localPort: ...}}"
    remedy = f"Add{known or ' it'} to `uses` of workload {caller.key}, or intercept its traffic"
    return Branch((sight.step("listener", why),), closed(why, remedy))


def _without_sidecar(
    world: World,
    walk: Walk,
    caller: Workload,
    service: Service | None,
    port: ServicePort | None,
    request: Request | None,
    sight: Sight,
) -> Branch:
    """Routes, retries and the like are the business of the caller's sidecar: here there is none."""
    step = Step(
        "caller", f"{caller.key} has no sidecar: it calls by itself, and no route of the mesh is followed"
    )
    if service is None or port is None:
        nowhere = unknown_host(world.state, _everything(caller), caller, request.authority if request else "")
        return Branch((step,), closed(nowhere.why, nowhere.remedy))
    found = tuple(
        Target(each.address, each.port, each.workload, None, "", 0, each.weight)
        for each in world.state.endpoints(service.key, port)
    )
    cluster = names.cluster(service.key, port.port)
    if not found:
        why, remedy = upstream.missing(cluster, world.state)
        return Branch((step,), closed(why, remedy))
    return walk.arrivals.direct(cluster, found, request, sight, caller).after(
        step, upstream.endpoints(cluster, found, sight)
    )


def _everything(caller: Workload) -> OutboundScope:
    return OutboundScope(caller.key.namespace, None)
