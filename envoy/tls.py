"""Transport sockets: mesh TLS towards endpoints and from callers, and none.

https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/extensions/transport_sockets/tls/v3/tls.proto
"""

from __future__ import annotations

from collections.abc import Sequence

from envoy import names
from envoy.errors import EmptyIdentities
from envoy.packing import from_ads, from_keys, pack
from mesh.external import WILDCARD, Origination
from pb.envoy.config.core.v3.base_pb2 import TransportSocket
from pb.envoy.extensions.transport_sockets.raw_buffer.v3.raw_buffer_pb2 import RawBuffer
from pb.envoy.extensions.transport_sockets.tls.v3.common_pb2 import (
    CertificateValidationContext,
    SubjectAltNameMatcher,
    TlsParameters,
)
from pb.envoy.extensions.transport_sockets.tls.v3.tls_pb2 import (
    CommonTlsContext,
    DownstreamTlsContext,
    UpstreamTlsContext,
)

TLS = "envoy.transport_sockets.tls"
RAW = "envoy.transport_sockets.raw_buffer"
SYSTEM_ROOTS = "/etc/ssl/certs/ca-certificates.crt"
"""Where Debian, Ubuntu, Alpine and Envoy's own images keep the authorities of the web. Envoy 1.40 does not know `system_root_certs`."""


def raw(socket: TransportSocket) -> None:
    """Plain TCP: for endpoints without a sidecar."""
    socket.name = RAW
    pack(socket.typed_config, RawBuffer())


def upstream(
    socket: TransportSocket, *, sni: str, identities: Sequence[str], alpn: Sequence[str] = ()
) -> None:
    """Mesh TLS to a callee that must prove to be one of `identities` (SPIFFE ids); EmptyIdentities if there is none."""
    if not identities:
        raise EmptyIdentities(
            f"no identity may serve {sni}, and an empty list would accept anyone: give the service a service account"
        )
    context = UpstreamTlsContext(sni=sni)
    common = context.common_tls_context
    _mesh(common, alpn)
    for identity in identities:
        matcher = (
            common.combined_validation_context.default_validation_context.match_typed_subject_alt_names.add()
        )
        matcher.san_type = SubjectAltNameMatcher.URI
        matcher.matcher.exact = identity
    socket.name = TLS
    pack(socket.typed_config, context)


def downstream(
    socket: TransportSocket,
    *,
    trust_domains: Sequence[str],
    alpn: Sequence[str] = (),
    parameters: bytes = b"",
) -> None:
    """Mesh TLS from callers, who must prove to be somebody of `trust_domains`: that each root vouches for its own trust domain alone is
    the secret's part (`ca.secrets`). Who of them may do what is policy. `parameters`: TlsParameters of which what is said counts.
    EmptyIdentities if there is no trust domain.
    """
    if not trust_domains:
        raise EmptyIdentities("no trust domain may call, and an empty list would accept anyone")
    context = DownstreamTlsContext()
    context.require_client_certificate.value = True
    _no_resumption(context)
    common = context.common_tls_context
    _mesh(common, alpn)
    common.tls_params.MergeFromString(parameters)
    accepted = common.combined_validation_context.default_validation_context.match_typed_subject_alt_names
    for each in trust_domains:
        # The slash ends the trust domain: `spiffe://mesh.local` alone would admit `spiffe://mesh.local.evil`.
        accepted.add(san_type=SubjectAltNameMatcher.URI).matcher.prefix = f"spiffe://{each}/"
    socket.name = TLS
    pack(socket.typed_config, context)


def edge(
    socket: TransportSocket,
    *,
    certificates: Sequence[str],
    authorities: str | None = None,
    optional: bool = False,
    alpn: Sequence[str] = (),
) -> None:
    """TLS from clients outside the mesh, with `certificates` (SDS names); of several, Envoy shows the one for the server name.

    With `authorities` (an SDS name) clients must show a certificate of one of these; if `optional`, they need not.
    """
    context = DownstreamTlsContext()
    common = context.common_tls_context
    # What every client of the last ten years speaks; 1.0 and 1.1 are deprecated by RFC 8996.
    common.tls_params.tls_minimum_protocol_version = TlsParameters.TLSv1_2
    common.tls_params.tls_maximum_protocol_version = TlsParameters.TLSv1_3
    common.alpn_protocols.extend(alpn)
    for name in certificates:
        secret = common.tls_certificate_sds_secret_configs.add()
        secret.name = name
        from_ads(secret.sds_config)
    if authorities is not None:
        _no_resumption(context)
        context.require_client_certificate.value = not optional
        validation = common.combined_validation_context
        validation.validation_context_sds_secret_config.name = authorities
        from_ads(validation.validation_context_sds_secret_config.sds_config)
        if optional:
            validation.default_validation_context.trust_chain_verification = (
                CertificateValidationContext.ACCEPT_UNTRUSTED
            )
        else:
            validation.default_validation_context.SetInParent()
    socket.name = TLS
    pack(socket.typed_config, context)


def outside(socket: TransportSocket, origination: Origination, *, sni: str, alpn: Sequence[str] = ()) -> None:
    """TLS to a server that is not of this mesh. `sni` empty: it is that of each request, as is the name that must be in the certificate."""
    context = UpstreamTlsContext(sni=sni)
    common = context.common_tls_context
    # As in the recommendations for the web: https://www.rfc-editor.org/rfc/rfc9325#section-3.1.1
    common.tls_params.tls_minimum_protocol_version = TlsParameters.TLSv1_2
    common.tls_params.tls_maximum_protocol_version = TlsParameters.TLSv1_3
    common.alpn_protocols.extend(alpn)
    if origination.certificate_file and origination.key_file:
        shown = common.tls_certificates.add()
        shown.certificate_chain.filename = origination.certificate_file
        shown.private_key.filename = origination.key_file
    elif origination.certificate is not None:
        by_sds = common.tls_certificate_sds_secret_configs.add(
            name=names.gateway_certificate(origination.certificate)
        )
        from_ads(by_sds.sds_config)
    if origination.authorities is None:
        validation = common.validation_context
        validation.trusted_ca.filename = origination.ca_file or SYSTEM_ROOTS
    else:
        validation = common.combined_validation_context.default_validation_context
        wanted = common.combined_validation_context.validation_context_sds_secret_config
        wanted.name = names.gateway_authorities(*origination.authorities)
        from_ads(wanted.sds_config)
    for name in origination.names or (() if origination.uris or not sni else (sni,)):
        _named(validation, SubjectAltNameMatcher.DNS, name)
    for uri in origination.uris:
        _named(validation, SubjectAltNameMatcher.URI, uri)
    socket.name = TLS
    pack(socket.typed_config, context)


def _named(
    validation: CertificateValidationContext, kind: SubjectAltNameMatcher.SanType.ValueType, name: str
) -> None:
    matcher = validation.match_typed_subject_alt_names.add(san_type=kind).matcher
    if name.startswith(WILDCARD):
        matcher.suffix = name.removeprefix("*")
    else:
        matcher.exact = name


def _mesh(common: CommonTlsContext, alpn: Sequence[str]) -> None:
    # Both ends are proxies of this mesh, so nothing older is needed.
    common.tls_params.tls_minimum_protocol_version = TlsParameters.TLSv1_3
    common.tls_params.tls_maximum_protocol_version = TlsParameters.TLSv1_3
    common.alpn_protocols.extend(alpn)
    certificate = common.tls_certificate_sds_secret_configs.add()
    certificate.name = names.IDENTITY
    from_keys(certificate.sds_config)
    roots = common.combined_validation_context.validation_context_sds_secret_config
    roots.name = names.ROOTS
    from_keys(roots.sds_config)


def _no_resumption(context: DownstreamTlsContext) -> None:
    """A session that is resumed is not held against the roots of now, and Envoy does not count its certificate as verified: access
    policies would take the caller for nobody (https://github.com/envoyproxy/envoy/issues/21235).
    """
    context.disable_stateless_session_resumption = True
    context.disable_stateful_session_resumption = True
