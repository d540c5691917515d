"""What the documents of all policies have in common: whom they target, whose calls they concern, and whether they can be overridden."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, cast

from pydantic import BaseModel, Field

from documents.envelope import Envelope, Name, Namespace, Part, Problem, ServiceName
from documents.service import ServiceAccount
from mesh.merge import freeze
from mesh.names import Key
from mesh.policy import Policy
from mesh.targeting import CallerRef, Level, RouteName, TargetRef

ROUTES = ("HTTPRoute", "GRPCRoute", "TCPRoute", "TLSRoute")
WITHOUT_REQUESTS = ("TCPRoute", "TLSRoute")
"""Those whose connections Envoy does not look into."""
_LEVELS = {
    "Mesh": Level.MESH,
    "Namespace": Level.NAMESPACE,
    "Service": Level.SERVICE,
    "Workload": Level.WORKLOAD,
}
TARGETING = frozenset({"target_refs", "from_", "enforced"})


class TargetRefSpec(Part):
    """A destination. `Mesh` and, for the policy's own, `Namespace` need no name."""

    kind: Literal[
        "Mesh", "Namespace", "Service", "Workload", "HTTPRoute", "GRPCRoute", "TCPRoute", "TLSRoute"
    ] = Field(description="What is named. Not every kind of policy can target each.")
    group: Literal["", "meshwright.dev", "gateway.networking.k8s.io"] | None = Field(
        None, description="As in the Gateway API; it follows from the kind and may be left out."
    )
    name: Name | None = Field(None, description="Of the target. Not for Mesh.")
    namespace: Namespace | None = Field(None, description="By default the policy's own.")

    @property
    def level(self) -> Level:
        return _LEVELS.get(self.kind, Level.ROUTE)

    def value(self, own: str) -> TargetRef:
        """`own` is the policy's namespace."""
        namespace = self.namespace or own
        match self.kind:
            case "Mesh":
                return TargetRef.mesh()
            case "Namespace":
                return TargetRef.of_namespace(self.name or namespace)
            case "Service":
                return TargetRef.service(Key(namespace, cast("str", self.name)))
            case "Workload":
                return TargetRef.workload(Key(namespace, cast("str", self.name)))
            case _:
                return TargetRef.route(RouteName(self.kind, Key(namespace, cast("str", self.name))))


class CallerRefSpec(Part):
    """Callers: those of a namespace that meet every further condition given."""

    namespace: Namespace | None = Field(None, description="By default the policy's own.")
    service: ServiceName | None = Field(None, description="Workloads that serve it.")
    workload: Name | None = Field(None, description="The one of this name.")
    service_account: ServiceAccount | None = Field(None, description="Those of this account.")

    def value(self, own: str) -> CallerRef:
        return CallerRef(self.namespace or own, self.service, self.workload, self.service_account)


class Targeting(Part):
    """The fields of `spec` that say whom a policy concerns."""

    target_refs: list[TargetRefSpec] = Field(min_length=1, description="What is called.")
    from_: list[CallerRefSpec] = Field([], alias="from", description="Who calls; by default everyone.")
    enforced: bool = Field(
        False, description="Cannot be overridden from below. For targets Mesh and Namespace only."
    )


class PolicyDocument(Envelope):
    """The base of the model of each policy kind, which adds `spec`: `Targeting` and the kind's own fields."""

    def targeting(self) -> Targeting:
        spec = self.__dict__["spec"]
        assert isinstance(spec, Targeting)  # noqa: S101 (every kind's spec is one)
        return spec

    def problems(self) -> Iterator[Problem]:
        targeting = self.targeting()
        for place, ref in enumerate(targeting.target_refs):
            at = ("spec", "targetRefs", place)
            if ref.kind not in {"Mesh", "Namespace"} and ref.name is None:
                yield Problem((*at, "name"), f"which {ref.kind} is not said", "Add its name")
            if ref.kind == "Mesh" and (ref.name or ref.namespace):
                yield Problem(at, "there is one mesh, without a name", "Remove name and namespace")
            if targeting.enforced and ref.kind not in {"Mesh", "Namespace"}:
                yield Problem(
                    ("spec", "enforced"),
                    f"only the mesh or a namespace can enforce, not {ref.kind} {ref.name}",
                    "Remove enforced, or target the namespace",
                )
        yield from self.own_problems()

    def own_problems(self) -> Iterator[Problem]:
        """What is wrong with the kind's own fields together. Fields that others may give are not missed here: see `PolicyKind.check`."""
        return iter(())

    def callers_not_told_apart(self) -> Iterator[Problem]:
        """For kinds that the callee enforces on what is not one caller's alone."""
        if self.targeting().from_:
            yield Problem(
                ("spec", "from"),
                f"a {self.kind} holds for all callers: it cannot tell them apart",
                "Remove from",
            )

    def value(self, origin: tuple[str, ...]) -> Policy:
        targeting, own = self.targeting(), self.metadata.namespace
        return Policy(
            kind=self.kind,
            key=self.metadata.key,
            targets=tuple(sorted({each.value(own) for each in targeting.target_refs})),
            fields=freeze(said(targeting)),
            callers=tuple(sorted({each.value(own) for each in targeting.from_}, key=str)),
            enforced=targeting.enforced,
            created=self.metadata.creation_timestamp,
            origin=origin,
        )


def said(spec: BaseModel) -> dict[str, object]:
    """What a document says, and nothing that it leaves to others: by the names that the document has."""
    return spec.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude=set(TARGETING))
