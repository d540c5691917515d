"""What becomes of a request that nobody has sent."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from api.shapes.shape import Shape

VISIBLE = r"^[!-~]*$"
Name = Annotated[str, Field(max_length=512, pattern=r"^[-a-z0-9./:_*]*$")]
PortNumber = Annotated[int, Field(ge=1, le=65535)]


class ExplainHeader(Shape):
    name: str = Field(min_length=1, max_length=256, pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")
    value: str = Field(default="", max_length=8192)


class ExplainRequest(Shape):
    """Who calls whom, and with what. Without `from`, it is a client outside that asks `gateway`."""

    from_: Name = Field(
        default="",
        alias="from",
        description="The calling workload; or a service, of which one workload stands for all.",
    )
    to: str = Field(
        default="",
        max_length=512,
        pattern=VISIBLE,
        description="A host as the caller says it, with a port or without, or `<namespace>/<service>`.",
    )
    method: str = Field(default="GET", pattern=r"^[A-Z]{1,32}$")
    path: str = Field(
        default="/", min_length=1, max_length=8192, pattern=VISIBLE, description="With the query."
    )
    port: PortNumber | None = Field(
        default=None,
        description="By default 80, else the only one of the service; of a gateway, the usual one.",
    )
    host: str = Field(
        default="",
        max_length=512,
        pattern=VISIBLE,
        description="What the request says as its host, if not `to`.",
    )
    headers: tuple[ExplainHeader, ...] = Field(default=(), max_length=100)
    claims: dict[str, Any] | None = Field(
        default=None, description="Those of a token that the request carries and that is valid."
    )
    tcp: bool = Field(default=False, description="A connection that is no HTTP.")
    local_port: PortNumber | None = Field(
        default=None, description="An explicit local port of the caller's sidecar."
    )
    gateway: Name = Field(
        default="", description="`<namespace>/<name>` of the Gateway that a client outside asks."
    )
    server_name: Name = Field(default="", description="The server name of a client outside that speaks TLS.")
    tls: bool = Field(default=False, description="Whether a client outside speaks TLS.")
    client_address: str = Field(default="198.51.100.1", max_length=64, description="Of a client outside.")
    proxy: Name = Field(
        default="",
        description="Start from what this proxy has been given, instead of what the mesh says now.",
    )
    dump: dict[str, Any] | None = Field(
        default=None,
        description="What `proxy`, or the caller's, says itself that it has: Envoy's /config_dump?include_eds.",
    )


class ExplainSource(Shape):
    """Where something was decided: a document, the field in it, and the file and line of that, where it has them."""

    document: str
    path: str = ""
    file: str = ""
    line: int | None = None


class ExplainStep(Shape):
    """One decision. `proxy`: whose; empty where no proxy decides."""

    stage: str = Field(description="As `route`, `cluster`, `access`.")
    said: str
    details: tuple[str, ...] = ()
    sources: tuple[ExplainSource, ...] = ()
    proxy: str = ""


class ExplainOutcome(Shape):
    """What so large a share of the requests would see."""

    share: float = Field(ge=0, le=1, description="Of all such requests.")
    ending: str = Field(description="application, answered (by a proxy), closed, or outside.")
    status: int | None = Field(default=None, description="Where a proxy answers.")
    grpc: str = Field(default="", description="The gRPC status, where a gRPC client is answered by a proxy.")
    clusters: tuple[str, ...] = Field(
        default=(), description="Where the request was sent, the caller's first."
    )
    workloads: tuple[str, ...] = Field(default=(), description="Whose application may answer.")
    arrives: str = Field(default="", description="Method, host and path as the application gets them.")
    location: str = Field(default="", description="Where a redirect leads.")
    why: str = ""
    remedy: str = Field(default="", description="The way out.")


class ExplainBranch(Shape):
    """What becomes of a share of the requests that came so far: steps, then further branches, or an end."""

    share: float = Field(ge=0, le=1)
    label: str = ""
    steps: tuple[ExplainStep, ...] = ()
    branches: tuple[ExplainBranch, ...] = ()


class ExplainAnswer(Shape):
    """`text`: all of it as people read it, line by line. `cautions`: what was taken for granted. `differences`: where the proxy that it
    starts from has something else than the mesh says.
    """

    question: str
    way: ExplainBranch
    outcomes: tuple[ExplainOutcome, ...] = Field(description="The likeliest first.")
    cautions: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
