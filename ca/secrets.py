"""SDS secrets: pure functions to `envoy.extensions.transport_sockets.tls.v3.Secret`.

The names are the same for every proxy; which key a proxy gets is decided by the identity that its stream has proved.

The trust bundle is a plain list of roots. A certificate of a foreign authority fails against them, also when it claims
our trust domain; one of another trust domain is no child of them. Which of our own identities a peer may have
is the business of the contexts that use the secret (`match_typed_subject_alt_names`, rendered by `envoy/`).
"""

from __future__ import annotations

from typing import Final

from ca.authority import TrustBundle
from pb.envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

IDENTITY: Final = "identity"
ROOTS: Final = "roots"
TYPE_URL: Final = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"


def identity_secret(chain_pem: bytes, private_key_pem: bytes) -> bytes:
    """The serialised Secret `identity`. It holds the private key: secret."""
    secret = Secret(name=IDENTITY)
    secret.tls_certificate.certificate_chain.inline_bytes = chain_pem
    secret.tls_certificate.private_key.inline_bytes = private_key_pem
    return secret.SerializeToString(deterministic=True)


def roots_secret(bundle: TrustBundle) -> bytes:
    """The serialised Secret `roots`."""
    return roots_of(bundle.pem)


def roots_of(bundle_pem: bytes) -> bytes:
    """The serialised Secret `roots`, of a trust bundle as agents hold it."""
    secret = Secret(name=ROOTS)
    secret.validation_context.trusted_ca.inline_bytes = bundle_pem
    return secret.SerializeToString(deterministic=True)
