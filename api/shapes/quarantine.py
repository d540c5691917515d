"""Documents that are set aside because Envoy refuses what they make."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from api.shapes.shape import Shape


class Quarantined(Shape):
    """A revision of a document, and the minor version of Envoy that refuses it."""

    kind: str
    namespace: str
    name: str
    revision: str = Field(description="A hash of what the document says.")
    envoy: str = Field(description="The version of Envoy, as it says itself; empty if it does not.")
    active: bool = Field(description="Whether that revision is what the document says now.")
    scope: Literal["all", "some"] = Field(
        description="Whether it is set aside for all proxies of the version, or for those that refused it."
    )
    verdict: Literal["pending", "refuses", "accepts", "unknown"] = Field(
        description="What an Envoy of the version says that the control plane asked itself; unknown: there is none here, or it cannot tell."
    )
    instead: Literal["earlier", "nothing", "itself"] = Field(
        description="What those see for whom it is set aside: an earlier revision, the mesh without the document, or, where nothing can stand for "
        "it, the document itself: then proxies keep what they took before."
    )
    proxies: tuple[str, ...] = Field(description="Some of those that refused it.")
    refused_by: int = Field(description="How many did.")
    resource: str = Field(description="What was refused, as `RouteConfiguration default/api`.")
    message: str = Field(description="Envoy's own words.")
    origin: str = Field(description="Where the document stood.")
    since: float = Field(description="Seconds since 1970.")


class QuarantineList(Shape):
    items: tuple[Quarantined, ...] = ()


class QuarantineReleased(Shape):
    released: int = Field(description="How many versions of Envoy it is sent to again.")
