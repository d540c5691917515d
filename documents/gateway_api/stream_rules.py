"""What the rules of TCPRoute and TLSRoute have in common: backends, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from documents.envelope import Part, Problem
from documents.gateway_api.common import SectionName, WeightedReference
from documents.reading import Path
from mesh.routes import Rule


class StreamRuleSpec(Part):
    name: SectionName | None = Field(default=None, description="Unique in this route.")
    backend_refs: Annotated[list[WeightedReference], Field(min_length=1, max_length=16)] = Field(
        description="Each connection goes to one, by weight."
    )

    def problems(self, at: Path) -> Iterator[Problem]:
        for place, backend in enumerate(self.backend_refs):
            yield from backend.problems((*at, "backendRefs", place))

    def value(self, own: str) -> Rule:
        return Rule(name=self.name, backends=tuple(each.value(own) for each in self.backend_refs))


# There is nothing that could tell a second rule's connections from the first's.
StreamRules = Annotated[list[StreamRuleSpec], Field(min_length=1, max_length=1)]
