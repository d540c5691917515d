"""EnvoyPatch: what no other kind says, in Envoy's own words, laid over one resource. The last resort.

https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/api
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, Literal

from google.protobuf.message import Message
from pydantic import Field, JsonValue

from documents.envelope import Part, Problem
from envoy import names
from envoy.packing import type_url
from envoy.patches import Patch, Unfit, parse
from envoy.seams import NOTHING, Parts, serialised
from mesh.policy import Policy
from mesh.state import MeshState
from mesh.targeting import Level, TargetRef
from pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from pb.envoy.config.listener.v3.listener_pb2 import Listener
from pb.envoy.config.route.v3.route_pb2 import RouteConfiguration
from policies.document import PolicyDocument, Targeting
from policies.kind import ANYWHERE, PolicyKind, Side, Where

EXAMPLE: Final = """\
apiVersion: meshwright.dev/v1alpha1
kind: EnvoyPatch
metadata: {name: ready-connections}
spec:
  targetRefs: [{kind: Service, name: api}]
  resource: Cluster
  name: default/api:80
  merge:
    preconnectPolicy: {perUpstreamPreconnectRatio: 1.5}
"""

RESOURCES: Final[Mapping[str, type[Message]]] = {
    "Cluster": Cluster,
    "RouteConfiguration": RouteConfiguration,
    "Listener": Listener,
}


class EnvoyPatchFields(Part):
    resource: Literal["Cluster", "RouteConfiguration", "Listener"] | None = Field(
        None, description="The type of the resource."
    )
    name: str | None = Field(
        None,
        min_length=1,
        description="The exact name of the resource, as `/config_dump` of the sidecar's admin interface shows it.",
    )
    merge: dict[str, JsonValue] | None = Field(
        None,
        min_length=1,
        description="A part of the resource, as JSON of its message (camelCase or snake_case). Values replace those that are there, objects are "
        "merged, also those with an `@type`; elements of lists are merged into those with the same `name`, and added otherwise. What is "
        "null is not said. If Envoy's constraints do not hold for what comes of it, the patch is left out, and the status says so.",
    )


class EnvoyPatchSpec(Targeting, EnvoyPatchFields):
    pass


class EnvoyPatch(PolicyDocument):
    """A part of one resource in Envoy's own words, where no other kind says it.

    What is patched goes by the target. Of a Service: the clusters and routes by which callers reach it (`default/api:80`, `default/api`), and what
    the sidecars of its workloads have of their own. Of a Workload: what its sidecar has of its own and no more: its listeners, the clusters
    of its application (`inbound/9001/http`) and the routes behind its ports (`inbound/default/api:80`); of a gateway's workload its
    listeners and routes. Clusters and routes of the services that a workload calls belong to these: target the Service, with
    `from: [{workload: web-1}]` for the calls of one workload. Namespace and Mesh: all of that, of all services and workloads there.
    Names and contents of resources are no interface: they may be others in the next version of Meshwright.
    """

    api_version: Literal["meshwright.dev/v1alpha1"]
    kind: Literal["EnvoyPatch"]
    spec: EnvoyPatchSpec

    def own_problems(self) -> Iterator[Problem]:
        spec = self.spec
        for name in ("resource", "name", "merge"):
            if getattr(spec, name) is None:
                yield Problem(("spec", name), f"{name} is missing", "Add it")
        if spec.resource is None or spec.merge is None:
            return
        if "name" in spec.merge:
            yield Problem(("spec", "merge", "name"), "a resource keeps its name", "Remove it")
        try:
            parse(spec.merge, RESOURCES[spec.resource])
        except Unfit as error:
            path = tuple(error.path.split(".")) if error.path else ()
            yield Problem(
                ("spec", "merge", *path),
                error.reason,
                f"See the message {RESOURCES[spec.resource].DESCRIPTOR.full_name} in Envoy's API",
            )


def effect(fields: EnvoyPatchFields, where: Where) -> Parts:
    if fields.resource is None or fields.name is None or fields.merge is None:
        return NOTHING
    of_callers = where.side is Side.CALLER and where.workload is None
    # Rules of routes have no resource of their own; what a callee has is the same for all callers.
    if where.route or where.callers or (of_callers and fields.resource == "Listener"):
        return NOTHING
    message = RESOURCES[fields.resource]
    body = serialised(parse(fields.merge, message))
    return Parts(patches=(Patch(type_url(message), fields.name, body, where.policy),))


def notes(state: MeshState, policy: Policy, target: TargetRef) -> Iterator[str]:
    """A resource of a service that is called, where only what the sidecar has of its own is patched."""
    resource, name = policy.fields.get("resource"), str(policy.fields.get("name"))
    if target.level is not Level.WORKLOAD or resource == "Listener":
        return
    called = names.called(name)
    service = (
        called[0] if called is not None else next((key for key in state.services if str(key) == name), None)
    )
    if service is not None:
        yield (
            f"no effect at {target}: {resource} {name} is what callers have of service {service}: target the Service, with `from` for the "
            f"calls of {target}"
        )


KIND: Final = PolicyKind(
    EnvoyPatch,
    EnvoyPatchFields,
    Side.CALLER | Side.CALLEE | Side.LISTENER,
    effect,
    levels=ANYWHERE - {Level.ROUTE},
    union=True,
    notes=notes,
)
