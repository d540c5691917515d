"""What a change would do before it is made, and what another version would send."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from api.shapes.shape import Shape

Change = Literal["added", "changed", "removed"]


class DocumentRef(Shape):
    """Names a document."""

    kind: str = Field(pattern=r"^[A-Za-z]{1,63}$")
    namespace: str = Field(default="default", pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")
    name: str = Field(pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")


class PlanRequest(Shape):
    """What would be written: documents to put and to delete, together; or the revision of the store that would be gone back to."""

    documents: tuple[dict[str, Any], ...] = Field(
        default=(), max_length=5_000, description="Whole documents, as they would be applied."
    )
    delete: tuple[DocumentRef, ...] = Field(default=(), max_length=5_000)
    revision: int | None = Field(
        default=None, ge=0, le=2**53, description="A revision to go back to, instead."
    )
    check: bool = Field(default=True, description="Whether a real Envoy checks what proxies would get.")

    @model_validator(mode="after")
    def _either(self) -> Self:
        if self.revision is not None and (self.documents or self.delete):
            raise ValueError("a revision says itself what would be written: leave documents and delete out")
        return self


class FieldDifference(Shape):
    """A field by its path; the values as compact JSON, null where it is not set. Long ones are cut."""

    path: str
    before: str | None = None
    after: str | None = None


class DocumentDifference(Shape):
    document: str = Field(description="`<kind> <namespace>/<name>`.")
    change: Change
    fields: tuple[FieldDifference, ...] = ()
    more_fields: int = 0


class ResourceDifference(Shape):
    """One and the same change of resources of a type, for all of `proxies`. Lists are cut; the numbers beside them say how many there are.

    In the fields of several, `{name}` stands for the name of each.
    """

    type: str = Field(description="Envoy's type, as `Cluster`.")
    change: Change
    names: tuple[str, ...]
    of_names: int
    proxies: tuple[str, ...]
    of_proxies: int
    fields: tuple[FieldDifference, ...] = ()
    more_fields: int = 0
    compared: bool = Field(default=True, description="False: too many differ to say which fields.")
    documents: tuple[str, ...] = Field(default=(), description="Where it comes from.")
    scattered: bool = Field(
        default=False, description="Each of the proxies has some of these resources, not all of them."
    )
    drains: bool = Field(default=False, description="Connections of the whole listener are drained.")


class PlanWarning(Shape):
    """What an operator should know beforehand."""

    about: Literal[
        "no-effect",
        "to-nothing",
        "converted",
        "doubtful",
        "locked-out",
        "not-sent",
        "service-goes",
        "incomplete",
        "means",
    ]
    document: str = Field(default="", description="`<kind> <namespace>/<name>`, where one is to blame.")
    text: str


class EnvoyCheck(Shape):
    """What a real Envoy says of what proxies would get: of the distinct configurations, so many were shown to it."""

    result: Literal["valid", "refused", "not-run"]
    text: str = ""
    checked: int = 0
    configurations: int = 0


class PlanAnswer(Shape):
    """What a change would do. `proxies` of `ofProxies` would be given something else.

    Of `hiddenProxies` of these nothing is shown: they are of namespaces that the caller may not view.
    """

    documents: tuple[DocumentDifference, ...] = ()
    more_documents: int = 0
    resources: tuple[ResourceDifference, ...] = ()
    more_resources: int = 0
    warnings: tuple[PlanWarning, ...] = ()
    more_warnings: int = 0
    refused: tuple[str, ...] = Field(default=(), description="Why it could not be applied.")
    proxies: int
    of_proxies: int
    hidden_proxies: int = 0
    check: EnvoyCheck
