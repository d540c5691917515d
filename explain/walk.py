"""A request on its way through the proxies: what each one's connection manager makes of it, and whom it sends it to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

from envoy import fallback, names
from explain import changes, entering, filter_chain, route_table, route_words
from explain.answer import Branch, Step, split
from explain.arrival import Arrivals
from explain.filter_chain import Found
from explain.local_replies import answered, redirected
from explain.nowhere import unknown_host, unknown_port
from explain.request import Request
from explain.resources import Resources
from explain.route_table import Lookup, Taken
from explain.sight import Passing, Sight
from explain.wording import share
from explain.world import World
from mesh.names import Key
from mesh.policy import Place
from mesh.routes import Route as RouteDocument
from mesh.routing import backend_view
from mesh.targeting import RouteName
from mesh.workload import Workload
from pb.envoy.config.route.v3.route_components_pb2 import Route
from pb.envoy.config.route.v3.route_pb2 import RouteConfiguration
from pb.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)

MISDIRECTED = 421
"""https://www.rfc-editor.org/rfc/rfc9110#section-15.5.20"""
Onward = Callable[[Request], Branch]


class Walk:
    """Follows requests from one proxy to the next. `cautions` gathers what was taken for granted on the way."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.cautions: dict[str, None] = {}
        self.arrivals = Arrivals(world, self)

    def http(
        self,
        manager: HttpConnectionManager,
        resources: Resources,
        request: Request,
        sight: Sight,
        of: Workload,
    ) -> Branch:
        """What the connection manager of the proxy of `of` does with a request."""
        entered = entering.enter(manager, request, sight)
        return self.assembled(entered, lambda got: self._routed(manager, resources, got, sight, of))

    def assembled(self, passing: Passing, onward: Onward) -> Branch:
        """What ended on the way, and what becomes of the rest."""
        self.cautions.update(dict.fromkeys(passing.cautions))
        branches = [
            Branch(outcome=outcome, share=part, label=f"{share(part)}: {outcome.why}")
            for part, outcome in passing.ended
        ]
        if passing.goes_on:
            rest = onward(passing.request)
            label = f"{share(passing.goes_on)}: the request goes on" if branches else ""
            branches.append(replace(rest, share=passing.goes_on, label=label))
        return split(passing.steps, tuple(branches))

    # Routes

    def _routed(
        self,
        manager: HttpConnectionManager,
        resources: Resources,
        request: Request,
        sight: Sight,
        of: Workload,
    ) -> Branch:
        table, steps = self._table(manager, resources, request, sight)
        lookup = route_table.look_up(table, request) if table is not None else Lookup(None)
        if not lookup.taken and any(each.name == fallback.ANOTHER_LOOK for each in manager.http_filters):
            steps, table, lookup = self._outside(resources, request, sight, steps)
        # At the end there is one route, which says nothing: what policies say on it is told by the filters.
        arrived = sight.takes is not None and sight.gateway is None and len(lookup.taken) == 1
        if table is not None and lookup.host is not None and not arrived:
            steps = (*steps, route_words.chosen(lookup, sight))
        branches = [
            self._taken(manager, table, lookup, each, resources, request, sight, of) for each in lookup.taken
        ]
        if lookup.found < 1:
            missed = self._missed(manager, table, lookup, request, sight, of)
            branches.append(replace(missed, share=1 - lookup.found))
        return split(steps, tuple(branches))

    def _table(
        self, manager: HttpConnectionManager, resources: Resources, request: Request, sight: Sight
    ) -> tuple[RouteConfiguration | None, tuple[Step, ...]]:
        """The route configuration that a request is looked up in, and how it was found."""
        match manager.WhichOneof("route_specifier"):
            case "rds":
                found = resources.routes(manager.rds.route_config_name)
                if found is None:
                    said = f"the proxy has no routes {manager.rds.route_config_name}"
                    return None, (sight.step("host", said),)
                return found.message, ()
            case "scoped_routes":
                key = request.authority.partition(":")[0]
                scope = resources.scope(key)
                if scope is None:
                    return None, (sight.step("host", f"{key} is no host that this proxy knows"),)
                name = scope.message.route_configuration_name
                table = resources.routes(name)
                sources = tuple(sight.blame.provenance.of_origin(each) for each in scope.origin)
                said = f"{key} is service {name}" + (
                    "" if table is not None else ", of which it has no routes"
                )
                return (None if table is None else table.message), (sight.step("host", said, (), sources),)
            case _:
                return manager.route_config, ()

    def _outside(
        self, resources: Resources, request: Request, sight: Sight, steps: tuple[Step, ...]
    ) -> tuple[tuple[Step, ...], RouteConfiguration | None, Lookup]:
        """A request that found no route is looked for once more, among hosts outside: see `envoy.fallback`."""
        found = resources.routes(names.OUTSIDE)
        if found is None:
            return steps, None, Lookup(None)
        marked = replace(request, authority=f"*:{request.authority}")
        step = sight.step("host", "no route of the mesh takes it: it is looked for among hosts outside")
        return (*steps, step), found.message, route_table.look_up(found.message, marked)

    def _missed(
        self,
        manager: HttpConnectionManager,
        table: RouteConfiguration | None,
        lookup: Lookup,
        request: Request,
        sight: Sight,
        of: Workload,
    ) -> Branch:
        """No route: the filters that stand for all requests are asked all the same, and then it is a 404."""

        def end(_: Request) -> Branch:
            why, remedy = self._why_missed(table, lookup, request, sight, of)
            outcome = answered(request, 404, why, remedy)
            return Branch((sight.step("answer", f"404: {why}"),), outcome)

        passing = filter_chain.run(manager, Found(table, lookup.host), request, sight)
        return self.assembled(passing, end)

    def _why_missed(
        self, table: RouteConfiguration | None, lookup: Lookup, request: Request, sight: Sight, of: Workload
    ) -> tuple[str, str]:
        state = self.world.state
        if sight.gateway is not None or sight.takes is not None:
            if lookup.host is None or not lookup.passed:
                why = f"no listener or route of the gateway has the host {request.authority}"
                return why, "Attach a route with that host name to the gateway"
            return f"no rule for host {lookup.domain} takes the request", "Add a rule that does"
        if table is None or table.name == names.OUTSIDE:
            scope = self.world.rendering(of).scope_of_callers
            nowhere = unknown_host(state, scope, of, request.authority)
            return nowhere.why, nowhere.remedy
        if lookup.host is None:
            nowhere = unknown_port(state, _service(table) or Key("", table.name), request.authority)
            return nowhere.why, nowhere.remedy
        return f"no rule for {request.authority} takes the request", "Add a rule that does"

    # What the chosen route does

    def _taken(
        self,
        manager: HttpConnectionManager,
        table: RouteConfiguration | None,
        lookup: Lookup,
        taken: Taken,
        resources: Resources,
        request: Request,
        sight: Sight,
        of: Workload,
    ) -> Branch:
        route = taken.route
        here = self._calling(sight, table, route)
        found = Found(table, lookup.host, route)
        holders = tuple(each for each in (route, lookup.host, table) if each is not None)
        passing = filter_chain.run(manager, found, request, here)
        made = self.assembled(passing, lambda got: self._done(route, holders, resources, got, here, of))
        label = "" if taken.share == 1 else f"{share(taken.share)}: {route_words.named(route)}"
        return replace(made, share=taken.share, label=label)

    def _calling(self, sight: Sight, table: RouteConfiguration | None, route: Route) -> Sight:
        """`sight`, with what policies target of the call."""
        if sight.takes is not None and sight.gateway is None:
            return sight
        rule = route_words.rule_of(route)
        service = _service(table) if sight.gateway is None else _only_service(route)
        name = None if rule is None else RouteName(rule.kind, rule.key)
        space = service.namespace if service else rule.key.namespace if rule else sight.proxy.namespace
        calls = Place(space, service, route=name) if service or rule else None
        return replace(sight, calls=calls, rule=route_words.view(self.world.state, rule))

    def _done(
        self,
        route: Route,
        holders: tuple[changes.Holder, ...],
        resources: Resources,
        request: Request,
        sight: Sight,
        of: Workload,
    ) -> Branch:
        match route.WhichOneof("action"):
            case "direct_response":
                return self._direct(route, request, sight)
            case "redirect":
                status = changes.REDIRECT_STATUS[route.redirect.response_code]
                where = changes.location(request, route.redirect, route.match)
                source = route_words.source(sight, route, "filters")
                step = sight.step("answer", f"{status}: redirected to {where}", (), source)
                return Branch((step,), redirected(status, where, f"a redirect of {route_words.named(route)}"))
            case "route":
                return self._forwarded(route, holders, resources, request, sight, of)
            case other:
                outcome = answered(
                    request, 404, f"route {route.name} does nothing that is known here: {other}"
                )
                return Branch((), outcome)

    def _direct(self, route: Route, request: Request, sight: Sight) -> Branch:
        status = route.direct_response.status
        why, remedy = route.direct_response.body.inline_string.strip(), ""
        rule = route_words.rule_of(route)
        if route.name == "no-match":
            why, remedy = "no rule for this host takes such a request", "Add a rule that does"
        elif status == MISDIRECTED:
            remedy = "Connect with the host as the server name"
        elif rule is not None:
            problems = self._problems(rule)
            if problems:
                why, remedy = "; ".join(problems), f"Correct the backends of {rule}"
        elif status == 404 and sight.calls is None and sight.takes is None:
            scope = self.world.rendering(self.world.state.workloads[sight.proxy]).scope_of_callers
            nowhere = unknown_host(
                self.world.state, scope, self.world.state.workloads[sight.proxy], request.authority
            )
            why, remedy = nowhere.why, nowhere.remedy
        step = sight.step("answer", f"{status}: {why}", (), route_words.source(sight, route, "backendRefs"))
        return Branch((step,), answered(request, status, why, remedy))

    def _problems(self, rule: route_words.Rule) -> tuple[str, ...]:
        """Why backends of a rule are none."""
        state = self.world.state
        document = state.declared.get((rule.kind, rule.key))
        if not isinstance(document, RouteDocument) or rule.place >= len(document.rules):
            return ()
        parent = next((each.key for each in document.parents if each.key in state.services), None)
        backends = document.rules[rule.place].backends
        found = ((each, backend_view(state, document, each, parent).problem) for each in backends)
        return tuple(f"{each}: {problem}" for each, problem in found if problem)

    def _forwarded(
        self,
        route: Route,
        holders: tuple[changes.Holder, ...],
        resources: Resources,
        request: Request,
        sight: Sight,
        of: Workload,
    ) -> Branch:
        action = route.route
        inbound = sight.takes is not None and sight.gateway is None
        steps = route_words.changed(route, holders, sight)
        if not inbound:
            steps = (*steps, *route_words.mirrored(action, route, sight), route_words.timed(action, sight))
        changed = changes.rewritten(changes.headers(request, holders), action, route.match)
        if action.WhichOneof("cluster_specifier") != "weighted_clusters":
            return self.arrivals.at_cluster(action.cluster, resources, changed, sight, of).after(*steps)
        weighted = action.weighted_clusters.clusters
        total = sum(each.weight.value for each in weighted)
        said = "; ".join(f"{share(Fraction(each.weight.value, total))} to {each.name}" for each in weighted)
        step = sight.step("split", said, (), route_words.source(sight, route, "backendRefs"))
        branches = []
        for each in weighted:
            if not each.weight.value:
                continue
            mine = changes.headers(request, (each, *holders))
            mine = changes.rewritten(mine, action, route.match)
            if each.host_rewrite_literal:
                mine = replace(mine, authority=each.host_rewrite_literal)
            made = self.arrivals.at_cluster(each.name, resources, mine, sight, of)
            part = Fraction(each.weight.value, total)
            branches.append(replace(made, share=part, label=f"{share(part)}: {each.name}"))
        return split((*steps, step), tuple(branches))


def _service(table: RouteConfiguration | None) -> Key | None:
    """The service whose outbound routes `table` has."""
    if table is None or table.name == names.OUTSIDE:
        return None
    called = names.called(table.name)
    if called is not None:
        return called[0]
    return Key.parse(table.name) if table.name.count("/") == 1 else None


def _only_service(route: Route) -> Key | None:
    """The service that all clusters of a route are of; None where there are several."""
    action = route.route
    led = [action.cluster] if action.cluster else [each.name for each in action.weighted_clusters.clusters]
    services = {called[0] for each in led if (called := names.called(each)) is not None}
    return next(iter(services)) if len(services) == 1 else None
