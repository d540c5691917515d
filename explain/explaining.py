"""From a question to its explanation."""

from __future__ import annotations

from dataclasses import replace

from envoy import names
from explain import connections, upstream
from explain.answer import Branch, Explanation, Step
from explain.connections import Dialled
from explain.difference import Watched, differences, otherwise
from explain.local_replies import closed
from explain.nowhere import unknown_host
from explain.question import Question, Unaskable
from explain.rbac import Peer
from explain.request import Request
from explain.resources import Resources
from explain.sight import Sight, listed
from explain.upstream import Target
from explain.walk import Walk
from explain.world import World
from mesh.names import DEFAULT_PORT, Key, hostnames
from mesh.policy import Place
from mesh.service import Service, ServicePort
from mesh.state import MeshState
from mesh.views import OutboundScope
from mesh.workload import Workload
from pb.envoy.config.listener.v3.listener_components_pb2 import FilterChain
from pb.envoy.config.listener.v3.listener_pb2 import Listener
from policies import egress

EGRESS = egress.KIND.name


def explain(world: World, question: Question) -> Explanation:
    """What becomes of the request of `question`. Raises Unaskable."""
    walk = Walk(world)
    if question.gateway is not None:
        shown, root = _from_outside(world, walk, question, question.gateway)
    else:
        shown, root = _from_workload(world, walk, question)
    cautions = (*walk.cautions, *(f"not in force: {each}" for each in world.problems()))
    return Explanation(shown, root, cautions)


def explain_live(world: World, question: Question, proxy: Workload, resources: Resources) -> Explanation:
    """As `explain`, where `proxy` has `resources`, whatever the mesh says; and where the two differ."""
    watched = Watched(resources)
    live = replace(world, given={**world.given, proxy.key: watched})
    found = explain(live, question)
    lines = (*differences(watched, world.rendering(proxy)), *otherwise(found, explain(world, question)))
    return replace(found, differences=lines)


def caller_of(state: MeshState, name: str) -> Workload:
    """The workload of that name; of a service, the first that serves it, one with a sidecar if there is any. Raises Unaskable."""
    key = Key.parse(name)
    found = state.workloads.get(key)
    if found is not None:
        return found
    members = [state.workloads[each] for each in state.members.get(key, ())]
    if members:
        return next((each for each in members if each.meshed), members[0])
    accounts = (
        each
        for _, each in sorted(state.workloads.items())
        if each.key.namespace == key.namespace and each.service_account == key.name
    )
    by_account = next(accounts, None)
    if by_account is not None:
        return by_account
    raise Unaskable(
        f"there is no workload {key}, and no service of that name that one serves: "
        "`meshwright workloads` lists those there are"
    )


# From a workload


def _from_workload(world: World, walk: Walk, question: Question) -> tuple[str, Branch]:
    if not question.to and not question.authority and question.local_port is None:
        raise Unaskable("it is not said who is called: give --to, or --to-gateway for a client outside")
    state, caller = world.state, caller_of(world.state, question.caller)
    host, service = _called(state, caller, question)
    port = _port(service, question)
    authority = question.authority or _authority(host, port)
    number = port.port if port is not None else question.port or DEFAULT_PORT
    tcp = question.tcp or (port is not None and not port.protocol.is_http)
    request = None if tcp else _request(question, authority, "http")
    shown = f"{caller.key} connects to {host}:{number}" if tcp else f"{caller.key} asks {_shown(request)}"
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
    chain = connections.chain(held.message, Dialled(address, _listening(held.message)))
    if chain is None:
        why = "nothing takes connections to that address: unknown ones are refused"
        step = sight.step("listener", why, (), sight.said(EGRESS))
        return shown, Branch((step,), closed(why, "Declare it as an ExternalService"))
    step = sight.step("listener", _words(held.message, chain), (), world.provenance.workload(caller.key))
    return shown, _in_chain(walk, chain, resources, request, sight, caller).after(step)


def _sight(world: World, caller: Workload) -> Sight:
    return Sight(caller.key, Peer(None, "127.0.0.1"), world.blame(caller))


def _in_chain(
    walk: Walk, chain: FilterChain, resources: Resources, request: Request | None, sight: Sight, of: Workload
) -> Branch:
    manager, proxy = connections.manager(chain), connections.tcp_proxy(chain)
    if manager is not None and request is not None:
        return walk.http(manager, resources, request, sight, of)
    if proxy is not None:
        return walk.arrivals.by_tcp(proxy, resources, sight, of)
    why = "HTTP is expected there, and nothing else"
    return Branch((sight.step("connection", f"closed: {why}"),), closed(why, "Ask in HTTP"))


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


def _request(question: Question, authority: str, scheme: str) -> Request:
    if (
        question.port is not None
        and ":" not in authority
        and question.port != DEFAULT_PORT
        and not question.authority
    ):
        authority = f"{authority}:{question.port}"
    return Request(question.method, question.path, authority, question.headers, None, scheme, question.claims)


def _shown(request: Request | None) -> str:
    return "" if request is None else f"{request.method} {request.scheme}://{request.authority}{request.path}"


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


def _listening(listener: Listener) -> int:
    return listener.address.socket_address.port_value


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


# From outside


def _from_outside(world: World, walk: Walk, question: Question, gateway: Key) -> tuple[str, Branch]:
    state = world.state
    playing = sorted(
        (each for each in state.workloads.values() if each.gateway == gateway), key=lambda each: each.key
    )
    if not playing:
        known = listed(
            tuple(sorted({str(each.gateway) for each in state.workloads.values() if each.gateway}))
        )
        hint = f": there is {known}" if known else ", nor any other"
        raise Unaskable(f"no workload plays gateway {gateway}{hint}")
    proxy = playing[0]
    resources = world.resources(proxy)
    tls = question.tls or bool(question.server_name)
    port = question.port or _edge_port(resources, tls=tls)
    server_name = question.server_name or (question.to or question.authority).partition(":")[0]
    dialled = Dialled(proxy.address, port, server_name if tls else "", tls=tls)
    peer = Peer(None, question.address, port, dialled.server_name)
    takes = Place(proxy.key.namespace, workload=proxy.key)
    sight = Sight(proxy.key, peer, world.blame(proxy), takes=takes, gateway=port)
    authority = question.authority or question.to
    request = (
        None
        if question.tcp
        else _request(replace(question, port=None), authority, "https" if tls else "http")
    )
    where = f"{question.address} asks gateway {gateway}, port {port}"
    shown = f"{where}: {_shown(request)}" if request is not None else f"{where}, by TCP"
    held = resources.listener(names.gateway_listener(port))
    if held is None:
        ports = (
            listed(tuple(each.message.name.rpartition("/")[2] for each in resources.listeners())) or "none"
        )
        why = f"gateway {gateway} does not listen on port {port}"
        outcome = closed(
            why, f"It listens on {ports}: `meshwright status` says what keeps other listeners away"
        )
        return shown, Branch((sight.step("listener", why),), outcome)
    chain = connections.chain(held.message, dialled)
    if chain is None:
        why = (
            f"no listener on port {port} takes server name {server_name}"
            if tls
            else f"port {port} takes TLS only"
        )
        remedy = "Ask for a host name of one of its listeners" if tls else "Ask by https"
        return shown, Branch((sight.step("listener", why),), closed(why, remedy))
    sources = tuple(world.provenance.of_origin(each) for each in held.origin)
    step = sight.step(
        "listener", f"{held.message.name}{f', server name {server_name}' if tls else ''}", (), sources
    )
    terminated = connections.terminated(chain)
    if terminated is not None and terminated.require_client_certificate.value:
        walk.cautions[
            f"{proxy.key} asks clients for a certificate: that the client has a valid one is taken for granted"
        ] = None
    return shown, _in_chain(walk, chain, resources, request, sight, proxy).after(step)


def _edge_port(resources: Resources, *, tls: bool) -> int:
    """The usual one, if the gateway listens there; else the first that it has."""
    ports = sorted(_listening(each.message) for each in resources.listeners())
    usual = 443 if tls else DEFAULT_PORT
    return usual if usual in ports or not ports else ports[0]


def _everything(caller: Workload) -> OutboundScope:
    return OutboundScope(caller.key.namespace, None)
