"""Services that proxies call on behalf of a policy: those of the mesh or outside it that it names, and servers by their URL."""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from documents.envelope import Name, Namespace, Part, Port, wrong
from envoy import names, tls
from envoy.clusters import CONNECT_TIMEOUT
from envoy.packing import CDS, listen_on
from envoy.seams import Called, ExtraResource, serialised
from mesh.external import Origination
from mesh.names import DEFAULT_NAMESPACE, Key, hostnames
from pb.envoy.config.cluster.v3.cluster_pb2 import Cluster

WELL_KNOWN: Final = {"http": 80, "https": 443}


class ServiceRefSpec(Part):
    """A service of the mesh, or an ExternalService."""

    name: Name = Field(description="Of the Service or ExternalService.")
    namespace: Namespace | None = Field(None, description="By default the policy's own.")
    port: Port = Field(description="The number of its port.")

    def called(self) -> Called:
        """Documents have the namespace filled in: see `in_namespace`."""
        return Called(Key(self.namespace or DEFAULT_NAMESPACE, self.name), self.port)

    def host(self) -> str:
        return hostnames(self.called().service, "")[0]


def cluster_of(called: Called) -> str:
    return names.cluster(called.service, called.port)


def in_namespace(said: object, own: str) -> None:
    """Say the namespace `own` in what a document says of a service, where it says none: once policies are merged, nobody knows whose it is."""
    if isinstance(said, dict) and said.get("namespace") is None:
        said["namespace"] = own


# By URL


@dataclass(frozen=True, slots=True)
class Url:
    """`host` without brackets; `path` with the query."""

    scheme: str
    host: str
    port: int

    @property
    def literal(self) -> bool:
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return True


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        port, host = parts.port, parts.hostname
    except ValueError as error:
        raise wrong(f"{text!r} is not a URL: {error}", "Write it like https://idp.example/keys") from error
    if parts.scheme not in WELL_KNOWN or not host or port == 0:
        raise wrong(f"{text!r} is not a URL of http or https", "Write it like https://idp.example/keys")
    if parts.username is not None or parts.password is not None:
        raise wrong("a URL with a user or a password is not sent as such", "Remove what stands before the @")
    if parts.fragment or any(each.isspace() or not each.isprintable() or not each.isascii() for each in text):
        raise wrong(
            f"{text!r} cannot be asked for", "Remove spaces, the fragment (#...) and what is not ASCII"
        )
    return text


HttpUrl = Annotated[str, AfterValidator(_url)]


def is_address(url: str) -> bool:
    """Whether the host of a URL that was validated is an IP address."""
    return parse_url(url).literal


def parse_url(text: str) -> Url:
    """Of one that was validated."""
    parts = urlsplit(text)
    return Url(parts.scheme, parts.hostname or "", parts.port or WELL_KNOWN[parts.scheme])


def server(purpose: str, url: str, ca_file: str | None) -> ExtraResource:
    """The cluster of a server outside the mesh; equal for everybody who means the same one. Over TLS, it must have a certificate for the
    host of the URL, from an authority of `ca_file`, or of the proxy's host.
    """
    said = parse_url(url)
    shown = f"[{said.host}]" if ":" in said.host else said.host
    trusted = f"/{hashlib.sha256(ca_file.encode()).hexdigest()[:8]}" if ca_file else ""
    made = Cluster(
        name=f"{purpose}/{said.scheme}/{shown}:{said.port}{trusted}",
        type=Cluster.STATIC if said.literal else Cluster.STRICT_DNS,
    )
    made.connect_timeout.seconds = CONNECT_TIMEOUT
    if not said.literal:
        made.dns_lookup_family = Cluster.V4_PREFERRED
        made.respect_dns_ttl = True
    made.load_assignment.cluster_name = made.name
    endpoint = made.load_assignment.endpoints.add().lb_endpoints.add().endpoint
    listen_on(endpoint.address, said.host, said.port)
    if said.scheme == "https":
        origination = Origination(names=(said.host,), ca_file=ca_file)
        sni = "" if said.literal else said.host  # an address is no server name (RFC 6066, section 3)
        tls.outside(made.transport_socket, origination, sni=sni, alpn=("http/1.1",))
    return ExtraResource(CDS, made.name, serialised(made))


def file_path(text: str) -> str:
    if not text.startswith("/") or "\0" in text or text.endswith("/"):
        raise wrong(f"{text!r} is not the absolute path of a file", "Use the path on the host of the proxy")
    return text


FilePath = Annotated[str, AfterValidator(file_path)]
