"""What is asked: who calls whom, and with what request."""

from __future__ import annotations

from dataclasses import dataclass

from explain.request import Claims, Headers
from mesh.names import Key

OUTSIDE = "198.51.100.1"
"""The address of a client outside where none is said: one that nobody has (RFC 5737)."""


class Unaskable(Exception):
    """A question that names what is not there. `str()` says what, and the way out."""


@dataclass(frozen=True, slots=True)
class Question:
    """`caller`: a workload, or a service of which any workload calls, by name; empty for a client outside, who calls `gateway`.

    `to`: a host as the caller says it, or `<namespace>/<service>`. `port`: None is the usual one. `authority`: what the request says as its
    host, where it differs. `local_port`: the explicit local port that is called. `tcp`: a connection that is no HTTP; its other fields mean
    nothing. `server_name` and `tls`: of a client outside.
    """

    caller: str = ""
    to: str = ""
    method: str = "GET"
    path: str = "/"
    port: int | None = None
    authority: str = ""
    headers: Headers = ()
    claims: Claims | None = None
    tcp: bool = False
    local_port: int | None = None
    gateway: Key | None = None
    server_name: str = ""
    tls: bool = False
    address: str = OUTSIDE
