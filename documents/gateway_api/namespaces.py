"""Choosing namespaces by their labels, as Kubernetes' LabelSelector does.

https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/label-selector/
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from documents.envelope import Part, Problem
from documents.reading import Path
from mesh.gateways import Operator, Requirement, Selector


class RequirementSpec(Part):
    key: str = Field(description="The name of a label.")
    operator: Operator = Field(strict=False, description="In, NotIn, Exists or DoesNotExist.")
    values: list[str] = Field(default=[], description="For In and NotIn.")

    def problems(self, at: Path) -> Iterator[Problem]:
        listed = self.operator in {Operator.IN, Operator.NOT_IN}
        if listed and not self.values:
            yield Problem((*at, "values"), "values is missing", f"Operator {self.operator} needs one or more")
        if not listed and self.values:
            yield Problem((*at, "values"), f"values do not go with operator {self.operator}", "Remove them")


class SelectorSpec(Part):
    """All must hold. Off Kubernetes a namespace has one label, `kubernetes.io/metadata.name`: its name."""

    match_labels: dict[str, str] = Field({}, description="These labels, with these values.")
    match_expressions: list[RequirementSpec] = Field(default=[], description="All of these must hold.")

    def problems(self, at: Path) -> Iterator[Problem]:
        for place, each in enumerate(self.match_expressions):
            yield from each.problems((*at, "matchExpressions", place))

    def value(self) -> Selector:
        return Selector(
            (
                *(
                    Requirement(label, Operator.IN, (value,))
                    for label, value in sorted(self.match_labels.items())
                ),
                *(
                    Requirement(each.key, each.operator, tuple(each.values))
                    for each in self.match_expressions
                ),
            )
        )
