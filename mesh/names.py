"""Keys, and the names and addresses by which a service is reached."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from dataclasses import dataclass
from typing import Self

from mesh.errors import InvalidName

MESH_SUFFIX = "mesh"
DEFAULT_NAMESPACE = "default"
SYSTEM_NAMESPACE = "meshwright-system"
"""Where the control plane is in a cluster, unless it is told another."""
DEFAULT_PORT = 80
DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
VIRTUAL_NETWORK = ipaddress.IPv4Network("240.0.0.0/4")

THIS_NETWORK = ipaddress.IPv4Network("0.0.0.0/8")
LOCAL_NAMES = frozenset(
    {
        "localhost",
        "localdomain",
        "localhost4",
        "localhost6",
        "localdomain4",
        "localdomain6",
        "ip6-localhost",
        "ip6-loopback",
    }
)
NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """The namespace and name of a service, a workload or a document of one kind. `str()` is `<namespace>/<name>`."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `<namespace>/<name>`, or `<name>` in the default namespace."""
        namespace, slash, name = text.partition("/")
        if not slash:
            namespace, name = DEFAULT_NAMESPACE, text
        if not namespace or not name:
            raise InvalidName(f"{text!r} is not <namespace>/<name>")
        return cls(namespace, name)


def is_address(text: str) -> bool:
    """Whether it is an IP address, of either version."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_local(host: str) -> bool:
    """Whether a host, a name or an address, is the caller's own or one on its link: what a proxy connects to by it is whatever listens beside
    the proxy, or a cloud's metadata, and no service.

    Names: https://www.rfc-editor.org/rfc/rfc6761#section-6.3, and what /etc/hosts of usual systems has. A last label that is a number is that of an
    address in another notation (https://url.spec.whatwg.org/#ends-in-a-number-checker). A name of the DNS may be one of these addresses all
    the same: nobody knows before it is resolved.
    """
    text = host.lower().rstrip(".").removeprefix("[").removesuffix("]").partition("%")[0]
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        last = text.rpartition(".")[2]
        return last in LOCAL_NAMES or text in LOCAL_NAMES or NUMBER.fullmatch(last) is not None
    address = getattr(found, "ipv4_mapped", None) or found
    return address.is_loopback or address.is_link_local or address.is_unspecified or address in THIS_NETWORK


def check_label(what: str, label: str) -> str:
    """`label`, if it is a DNS label (RFC 1123); InvalidName otherwise."""
    if not DNS_LABEL.fullmatch(label):
        raise InvalidName(
            f"{what} {label!r} is not a DNS label: use up to 63 lower-case letters, digits and '-'"
        )
    if what == "namespace" and label == MESH_SUFFIX:
        raise InvalidName(
            f"namespace {label!r} would make <service>.{MESH_SUFFIX} ambiguous: choose another name"
        )
    return label


def hostnames(service: Key, caller_namespace: str) -> tuple[str, ...]:
    """The names, without a port, by which a caller in `caller_namespace` reaches `service`; the full name first."""
    full = (f"{service.name}.{service.namespace}.{MESH_SUFFIX}", f"{service.name}.{service.namespace}")
    if service.namespace != caller_namespace:
        return full
    return (*full, f"{service.name}.{MESH_SUFFIX}", service.name)


def authorities(service: Key, port: int, caller_namespace: str) -> tuple[str, ...]:
    """The values of `:authority` that mean `port` of `service`: each name with the port, and without it when it is 80."""
    names = hostnames(service, caller_namespace)
    with_port = tuple(f"{name}:{port}" for name in names)
    return (*names, *with_port) if port == DEFAULT_PORT else with_port


def sni(service: Key, port: int, trust_domain: str) -> str:
    """The server name by which mesh TLS is recognised: `<port>.<service>.<namespace>.<trust domain>`."""
    return f"{port}.{service.name}.{service.namespace}.{trust_domain}"


def virtual_address(service: Key) -> str:
    """An address in 240.0.0.0/4 that is the same on every replica. Two services may have one: see `mesh.addresses`."""
    digest = hashlib.blake2b(str(service).encode(), digest_size=8).digest()
    # Leave out the first and the last address of the network.
    offset = 1 + int.from_bytes(digest, "big") % (VIRTUAL_NETWORK.num_addresses - 2)
    return str(VIRTUAL_NETWORK.network_address + offset)
