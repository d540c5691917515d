"""A request of a client outside the mesh, to a gateway."""

from __future__ import annotations

from dataclasses import replace

from envoy import names
from explain import connections
from explain.answer import Branch
from explain.asking import in_chain, port_of, the_request, words_of
from explain.connections import Dialled
from explain.local_replies import closed
from explain.question import Question, Unaskable
from explain.rbac import Peer
from explain.resources import Resources
from explain.sight import Sight, listed
from explain.walk import Walk
from explain.world import World
from mesh.names import DEFAULT_PORT, Key
from mesh.policy import Place


def from_outside(world: World, walk: Walk, question: Question, gateway: Key) -> tuple[str, Branch]:
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
        else the_request(replace(question, port=None), authority, "https" if tls else "http")
    )
    where = f"{question.address} asks gateway {gateway}, port {port}"
    shown = f"{where}: {words_of(request)}" if request is not None else f"{where}, by TCP"
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
    return shown, in_chain(walk, chain, resources, request, sight, proxy).after(step)


def _edge_port(resources: Resources, *, tls: bool) -> int:
    """The usual one, if the gateway listens there; else the first that it has."""
    ports = sorted(port_of(each.message) for each in resources.listeners())
    usual = 443 if tls else DEFAULT_PORT
    return usual if usual in ports or not ports else ports[0]
