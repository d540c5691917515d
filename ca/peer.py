"""Who a verified certificate belongs to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.x509.oid import NameOID

from ca.errors import UnusablePeer
from mesh.errors import InvalidName
from mesh.identity import Identity
from mesh.names import Key, check_label

WORKLOAD_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,252}")
_REMEDY = "use a certificate that the mesh issued to a workload"


@dataclass(frozen=True, slots=True)
class Proved:
    """What a peer's certificate proves, until `not_after`. The TLS handshake has verified the chain already."""

    identity: Identity
    workload: Key
    not_after: datetime
    serial: int = 0

    @property
    def node_id(self) -> str:
        """`<namespace>/<workload>`, what the proxy's `node.id` has to be."""
        return str(self.workload)


def proved(pem: bytes) -> Proved:
    """What the leaf `pem` proves: in gRPC, `context.auth_context()["x509_pem_cert"][0]`.

    UnusablePeer if it has not exactly one URI, which is one of our SPIFFE ids, and one UID, which is
    `<namespace>/<workload>`: the control plane's own certificate has none.
    """
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        subject = certificate.subject.get_attributes_for_oid(NameOID.USER_ID)
    except (ValueError, x509.InvalidVersion, x509.ExtensionNotFound, x509.DuplicateExtension) as error:
        raise UnusablePeer(f"the peer's certificate has no readable SPIFFE id: {_REMEDY}") from error
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1 or len(subject) != 1:
        raise UnusablePeer(
            f"the peer's certificate has {len(uris)} URIs and {len(subject)} UIDs in place of one each: {_REMEDY}"
        )
    try:
        identity = Identity.parse(uris[0])
        workload = parse_node_id(str(subject[0].value))
    except InvalidName as error:
        raise UnusablePeer(f"the peer's certificate: {error}: {_REMEDY}") from error
    return Proved(identity, workload, certificate.not_valid_after_utc, certificate.serial_number)


def parse_node_id(text: str) -> Key:
    """The workload that `<namespace>/<workload>` means, nothing left out; InvalidName otherwise."""
    namespace, _, name = text.partition("/")
    return workload_key(namespace, name)


def workload_key(namespace: str, name: str) -> Key:
    """The key of a workload, from outside; InvalidName if it cannot be one.

    Registries name instances freely (Consul service ids, pods), so a workload's name is not held to a DNS label.
    """
    check_label("namespace", namespace)
    if not WORKLOAD_NAME.fullmatch(name):
        raise InvalidName(
            f"workload {name[:300]!r} is not 1 to 253 letters, digits, '.', '_', ':' and '-', beginning with "
            "a letter or a digit"
        )
    return Key(namespace, name)
