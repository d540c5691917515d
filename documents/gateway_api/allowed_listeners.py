"""Which ListenerSets a Gateway takes (https://gateway-api.sigs.k8s.io/geps/gep-1713/#gateway-listenerset-handshake)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from documents.envelope import Part, Problem
from documents.gateway_api.namespaces import SelectorSpec
from documents.reading import Path
from mesh.gateways import AllowedListeners, FromNamespaces


class ListenerNamespacesSpec(Part):
    from_: Literal["None", "Same", "All", "Selector"] = Field(
        default="None",
        alias="from",
        description="None, Same, All, or Selector: those that `selector` chooses.",
    )
    selector: SelectorSpec | None = Field(default=None, description="For Selector: by labels of namespaces.")


class AllowedListenersSpec(Part):
    namespaces: ListenerNamespacesSpec = Field(
        default=ListenerNamespacesSpec(), description="Whose ListenerSets; by default nobody's."
    )

    def problems(self, at: Path) -> Iterator[Problem]:
        if self.namespaces.from_ == "Selector":
            if self.namespaces.selector is None:
                yield Problem(
                    (*at, "namespaces", "selector"),
                    "selector is missing",
                    "Say which namespaces, or use from: All",
                )
            else:
                yield from self.namespaces.selector.problems((*at, "namespaces", "selector"))

    def value(self) -> AllowedListeners | None:
        if self.namespaces.from_ == "None":
            return None
        namespaces, selector = FromNamespaces(self.namespaces.from_), self.namespaces.selector
        chosen = selector if namespaces is FromNamespaces.SELECTOR else None
        return AllowedListeners(namespaces, None if chosen is None else chosen.value())
