"""What is valid and yet not right."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from api.shapes.shape import Query, Shape

Severity = Literal["error", "warning", "info"]


class AnalyzeQuery(Query):
    code: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9,]{1,400}$",
        description="Only checks whose code begins with one of these, with commas between: MW02,MW0401.",
    )
    severity: Severity = Field(default="info", description="This and worse.")


class AnalysisFinding(Shape):
    """`subject`: what it is about, as `HTTPRoute default/api`. `documents`: the documents and sources that say so. `cure`: what to do."""

    code: str
    severity: Severity
    title: str
    subject: str
    message: str
    documents: tuple[str, ...]
    why: str
    cure: str


class Analysis(Shape):
    """The worst first. `checks`: how many were made. `live`: whether a running control plane was looked at, not documents alone."""

    findings: tuple[AnalysisFinding, ...]
    checks: int
    live: bool
