"""Where in a Secret or a ConfigMap certificates, keys and authorities are. Pure.

https://gateway-api.sigs.k8s.io/reference/spec/: a certificate is a Secret of type kubernetes.io/tls, authorities are `ca.crt` of a
ConfigMap; those of a Secret are there too (implementation-specific).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Final

from kube.resource import Object
from mesh.gateway_references import Role

CERTIFICATE: Final = ("tls.crt", "tls.key")
AUTHORITIES: Final = ("ca.crt",)
PARTS: Final[Mapping[Role, tuple[str, ...]]] = {
    Role.CERTIFICATE: CERTIFICATE,
    Role.CLIENT_CERTIFICATE: CERTIFICATE,
    Role.AUTHORITY: AUTHORITIES,
}
MOST: Final = 1024 * 1024
"""Bytes of one part: as much as the API server takes of a whole object."""


def content(found: Object) -> dict[str, bytes]:
    """The parts of `found`, a Secret or a ConfigMap, that may be of use; nothing else of it is kept."""
    made: dict[str, bytes] = {}
    encoded, binary = found.get("data"), found.get("binaryData")
    of_secret = "type" in found  # of a list, elements have no kind
    for name in (*CERTIFICATE, *AUTHORITIES):
        for source, coded in ((encoded, of_secret), (binary, True)):
            value = source.get(name) if isinstance(source, dict) else None
            if isinstance(value, str) and value and name not in made:
                made[name] = _decoded(value) if coded else value.encode()
    return {name: data for name, data in made.items() if data and len(data) <= MOST}


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=False)
    except (binascii.Error, ValueError):
        return b""
