"""Documents, as they are asked for, told and written."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema

from api.shapes.shape import Query, Shape, YesNo

LIMIT, MOST = 500, 1000
"""Documents of one page, unless another number is asked for, and the most that may be."""

Document = Annotated[dict[str, Any], WithJsonSchema({"x-component": "Document"})]
"""A document with what the store and the mesh know of it, as `api.openapi` describes it: built from parts that are checked already."""
Selector = Annotated[str, Field(max_length=2000)]
Reason = Annotated[str, Field(max_length=1000, description="Why, for the history.")]
Manager = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[ -~]+$")]
Revision = Annotated[int, Field(ge=0, le=2**53 - 1)]
Kind = Annotated[str, Field(pattern=r"^[A-Za-z]{1,63}$")]
Label = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]


class DryRun(Query):
    dry_run: YesNo = Field(default=False, description="Check, and tell what would be; write nothing.")


class PageQuery(Query):
    limit: int = Field(default=LIMIT, ge=1, le=MOST, description="Documents of one page.")
    continue_: str = Field(
        default="",
        alias="continue",
        max_length=500,
        description="From the page before; with the same other parameters.",
    )


class ListQuery(PageQuery):
    kind: Kind | None = Field(default=None, description="As `HTTPRoute`.")
    namespace: Label | None = None
    label_selector: Selector = Field(
        default="", description="As Kubernetes writes them: `app=web,tier!=db,env in (a, b),!old`."
    )
    field_selector: Selector = Field(
        default="",
        description="`metadata.name=api`, `spec.action!=deny`: scalars of the document, by their path.",
    )
    at: Revision | None = Field(
        default=None, description="As of this revision of the store; the newest if left out."
    )


class GetQuery(Query):
    at: Revision | None = Field(
        default=None, description="As of this revision of the store; the newest if left out."
    )
    managed_fields: YesNo = Field(
        default=False, description="Tell who owns which field, as `metadata.managedFields`."
    )


class WriteQuery(DryRun):
    reason: Reason = ""
    field_manager: Manager | None = Field(
        default=None, description="Who owns what is written; the caller's name if left out. Needed to apply."
    )


class PatchQuery(WriteQuery):
    force: YesNo = Field(
        default=False, description="Take over the fields that others own (server-side apply alone)."
    )


class DeleteQuery(DryRun):
    reason: Reason = ""


class DocumentPage(Shape):
    """`revision`: of the store, when the first page was asked for: later pages are of it too. Documents of files are as they are now."""

    items: tuple[Document, ...]
    revision: int
    continue_: str = Field(alias="continue", description="For the next page; empty: this is the last.")
    remaining: int = Field(description="Documents that later pages will have.")


class DocumentName(Shape):
    kind: Kind
    namespace: Label = "default"
    name: Label


class Deletion(DocumentName):
    resource_version: str | None = Field(
        default=None, max_length=20, description="Only if it has this version; whatever it has if left out."
    )


class Batch(Shape):
    """All of it is done, as one revision, or nothing. Documents are created or replaced; one with `metadata.resourceVersion` only if it has that
    version still.
    """

    documents: tuple[Document, ...] = Field(default=(), max_length=20_000)
    delete: tuple[Deletion, ...] = Field(default=(), max_length=20_000)
    reason: Reason = ""
    field_manager: Manager | None = None
    dry_run: bool = False
    stage: str | None = Field(
        default=None,
        max_length=200,
        description="A staged rollout, as `5%,50%,100%`; what a RolloutPolicy says, or everywhere at once, if left out.",
    )
    bake: str | None = Field(
        default=None,
        max_length=40,
        description="With `stage`: for how long the change must do well in each stage, as `30s`. By default 2m.",
    )


class Written(Shape):
    """What a write did to one document. `resource_version`: what it has now; empty if it is gone."""

    op: Literal["created", "changed", "unchanged", "deleted"]
    kind: str
    namespace: str
    name: str
    resource_version: str


class Warned(Shape):
    """What should be known although nothing is refused."""

    document: str = Field(description="`<kind> <namespace>/<name>`, empty for what is no document's.")
    warning: str


class WriteEffects(Shape):
    """What a write changes in the mesh: for how many sidecars, of which services, in how many resources (`about`: reckoned from a part)."""

    proxies: int
    services: int
    resources: int
    about: bool


class WriteAnswer(Shape):
    """`revision` is what holds it: wait for its acknowledgement. Unchanged documents make no revision. `document`: as it is now, where one was written."""

    revision: int
    revision_id: str
    dry_run: bool
    changes: tuple[Written, ...]
    effects: WriteEffects
    warnings: tuple[Warned, ...]
    document: Document | None = None
