"""The filter ExternalAuth of HTTPRoutes: somebody else decides whether a request may go on (GEP-1494, experimental).

https://gateway-api.sigs.k8s.io/geps/gep-1494/
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from documents.envelope import Part, Problem, repeated, wrong
from documents.gateway_api.common import BackendReference, HeaderName
from documents.gateway_api.matching import path_flaw
from documents.reading import Path
from mesh.routes import ExternalAuth

_PATH = re.compile(r"(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})+")
MOST = 2**16 - 1

HeaderNames = Annotated[list[HeaderName], Field(max_length=64)]


def _path(text: str) -> str:
    if not text.startswith("/") or _PATH.fullmatch(text) is None:
        raise wrong(f"{text!r} is not the beginning of a path", "Write it like /check")
    if (found := path_flaw(text)) is not None:
        raise wrong(*found)
    return text.rstrip("/")


class GrpcAuthSpec(Part):
    allowed_headers: HeaderNames = Field(
        default=[], description="Headers of requests that the service is told. By default all."
    )


class HttpAuthSpec(Part):
    path: Annotated[str, Field(max_length=1024), AfterValidator(_path)] | None = Field(
        default=None, description="What the path of a request is put behind. By default nothing."
    )
    allowed_headers: HeaderNames = Field(
        default=[],
        description="Headers of requests that the service is told besides Host, Authorization and Content-Length. By default none.",
    )
    allowed_response_headers: HeaderNames = Field(
        default=[],
        description="Headers of a permission that the backend gets. By default all, but for those that describe a message or a body, say "
        "where a request goes, or who called.",
    )


class ForwardBodySpec(Part):
    max_size: Annotated[int, Field(ge=0, le=MOST)] = Field(
        default=0, description="Bytes. A request with a larger body is answered 413. 0: no body is sent."
    )


class ExternalAuthSpec(Part):
    """A service is asked whether a request may go on. It has a second to answer; where it does not, the answer is 503."""

    protocol: Literal["HTTP", "GRPC"] = Field(
        description="`GRPC`: the service is an envoy.service.auth.v3.Authorization. `HTTP`: 200 is a permission, and any other answer the client's."
    )
    backend_ref: BackendReference = Field(
        description="Who is asked. One that is not there, or may not be referred to, is answered for with 500."
    )
    grpc: GrpcAuthSpec | None = Field(default=None, description="With protocol GRPC, which needs it.")
    http: HttpAuthSpec | None = Field(default=None, description="With protocol HTTP, which needs it.")
    forward_body: ForwardBodySpec | None = Field(
        default=None, description="How much of a body the service gets. By default none."
    )

    def problems(self, at: Path) -> Iterator[Problem]:
        yield from self.backend_ref.problems((*at, "backendRef"))
        for name, part in (("GRPC", self.grpc), ("HTTP", self.http)):
            field = name.lower()
            if name == self.protocol and part is None:
                yield Problem((*at, field), f"{field} is missing", f"Protocol {name} needs it; {{}} will do")
            elif name != self.protocol and part is not None:
                yield Problem((*at, field), f"{field} does not go with protocol {self.protocol}", "Remove it")
        lists = {} if self.grpc is None else {("grpc", "allowedHeaders"): self.grpc.allowed_headers}
        if self.http is not None:
            lists["http", "allowedHeaders"] = self.http.allowed_headers
            lists["http", "allowedResponseHeaders"] = self.http.allowed_response_headers
        for path, names in lists.items():
            yield from repeated((*at, *path), "", names, "header")

    def value(self, own: str) -> ExternalAuth:
        """Call it only if there are no problems."""
        backend = replace(self.backend_ref.value(own), grpc=self.protocol == "GRPC")
        body = 0 if self.forward_body is None else self.forward_body.max_size
        if self.http is None:
            headers = () if self.grpc is None else tuple(self.grpc.allowed_headers)
            return ExternalAuth(backend, headers, body=body)
        return ExternalAuth(
            backend,
            tuple(self.http.allowed_headers),
            self.http.path or "",
            tuple(self.http.allowed_response_headers),
            body,
        )
