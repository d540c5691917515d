"""Session persistence (https://gateway-api.sigs.k8s.io/geps/gep-1619/), as far as Envoy can keep it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from documents.durations import Duration
from documents.envelope import Part, Problem
from documents.gateway_api.common import ParameterName
from documents.reading import Path
from mesh.routes import SessionKind, SessionPersistence


class CookieSpec(Part):
    lifetime_type: Literal["Permanent", "Session"] = Field(
        "Session",
        description="Permanent: kept for absoluteTimeout. Session: as long as the client's own session.",
    )


class SessionSpec(Part):
    """Requests of one session go to one endpoint, as long as it is there."""

    session_name: ParameterName | None = Field(
        None, max_length=128, description="The name of the cookie or header."
    )
    type: SessionKind = Field(SessionKind.COOKIE, strict=False, description="Cookie or Header.")
    absolute_timeout: Duration | None = Field(None, description="How long a Permanent cookie is kept.")
    idle_timeout: Duration | None = Field(None, description="Not supported.")
    cookie_config: CookieSpec | None = Field(default=None, description="For type Cookie.")

    def problems(self, at: Path) -> Iterator[Problem]:
        permanent = self.cookie_config is not None and self.cookie_config.lifetime_type == "Permanent"
        if self.idle_timeout is not None:
            yield Problem(
                (*at, "idleTimeout"),
                "a session cannot end by being idle: Envoy keeps no state of sessions",
                "Remove it; a Permanent cookie ends after absoluteTimeout",
            )
        if self.type is SessionKind.HEADER and self.cookie_config is not None:
            yield Problem(
                (*at, "cookieConfig"),
                "a session of type Header has no cookie",
                "Remove it, or use type: Cookie",
            )
        if permanent and self.absolute_timeout is None:
            yield Problem(
                (*at, "absoluteTimeout"),
                "absoluteTimeout is missing",
                "Say how long a Permanent cookie is kept",
            )
        if not permanent and self.absolute_timeout is not None:
            yield Problem(
                (*at, "absoluteTimeout"),
                "only a Permanent cookie can end at a time: Envoy keeps no state of sessions",
                "Remove it, or use cookieConfig: {lifetimeType: Permanent}",
            )
        if self.absolute_timeout is not None and self.absolute_timeout.total_seconds() < 1:
            yield Problem((*at, "absoluteTimeout"), "a cookie is kept for whole seconds", "Use 1s or more")

    def value(self) -> SessionPersistence:
        return SessionPersistence(
            self.type, self.session_name, self.absolute_timeout, permanent=self.absolute_timeout is not None
        )
