"""SDS secrets: pure functions to `envoy.extensions.transport_sockets.tls.v3.Secret`.

The names are the same for every proxy; which key a proxy gets is decided by the identity that its stream has proved.

The trust bundle is a plain list of roots. A certificate of a foreign authority fails against them, also when it claims
our trust domain; one of another trust domain is no child of them. Which of our own identities a peer may have
is the business of the contexts that use the secret (`match_typed_subject_alt_names`, rendered by `envoy/`).

Where other trust domains are federated, it is Envoy's SPIFFE validator with a bundle for each of them, so that a root
vouches for the identities of its own trust domain and no other:
https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/extensions/transport_sockets/tls/v3/tls_spiffe_validator_config.proto
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from ca.authority import TrustBundle
from ca.federation import Federated, in_order
from pb.envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from pb.envoy.extensions.transport_sockets.tls.v3.tls_spiffe_validator_config_pb2 import (
    SPIFFECertValidatorConfig,
)

IDENTITY: Final = "identity"
ROOTS: Final = "roots"
SPIFFE_VALIDATOR: Final = "envoy.tls.cert_validator.spiffe"
TYPE_URL: Final = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"


def identity_secret(chain_pem: bytes, private_key_pem: bytes) -> bytes:
    """The serialised Secret `identity`. It holds the private key: secret."""
    secret = Secret(name=IDENTITY)
    secret.tls_certificate.certificate_chain.inline_bytes = chain_pem
    secret.tls_certificate.private_key.inline_bytes = private_key_pem
    return secret.SerializeToString(deterministic=True)


def roots_secret(bundle: TrustBundle, federated: Federated = (), aliases: Iterable[str] = ()) -> bytes:
    """The serialised Secret `roots`. A federated trust domain without any root vouches for nobody, and is left out. `aliases`: trust
    domains that our own roots vouch for as well (`mesh.identity.TrustDomains`).
    """
    secret = Secret(name=ROOTS)
    others = [each for each in federated if each.roots]
    if others:
        validator = secret.validation_context.custom_validator_config
        validator.name = SPIFFE_VALIDATOR
        config = SPIFFECertValidatorConfig()
        own = (replace(bundle, trust_domain=each) for each in (bundle.trust_domain, *aliases))
        for each in (*own, *in_order(others, bundle.trust_domain, *aliases)):
            domain = config.trust_domains.add(name=each.trust_domain)
            domain.trust_bundle.inline_bytes = each.pem
        validator.typed_config.Pack(config, deterministic=True)
    else:
        secret.validation_context.trusted_ca.inline_bytes = bundle.pem
    return secret.SerializeToString(deterministic=True)
