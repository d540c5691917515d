"""MeshTLS: whether a port takes mesh TLS alone, plaintext beside it, or is called in plaintext. Enforced by the callee; callers follow.

How the two are told apart on one port is `envoy/plaintext.py`; what callers speak is `mesh/transport.py`.
https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/extensions/transport_sockets/tls/v3/common.proto#extensions-transport-sockets-tls-v3-tlsparameters
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from documents.envelope import Part, Port, Problem, repeated
from envoy.seams import Parts, serialised
from mesh.merge import thawed
from mesh.names import Key
from mesh.policy import Policy
from mesh.state import MeshState
from mesh.targeting import Level, TargetRef
from mesh.transport import TlsMode
from pb.envoy.extensions.transport_sockets.tls.v3.common_pb2 import TlsParameters
from policies.document import PolicyDocument, Targeting
from policies.kind import ANYWHERE, PolicyKind, Side, Where

MODES = ("strict", "permissive", "off")
VERSIONS = ("1.2", "1.3")


def _mode(value: object) -> object:
    """To readers of YAML 1.1, as Kubernetes' clients are, a bare `off` is the boolean."""
    return "off" if value is False else value


def _version(value: object) -> object:
    """A bare `1.2` is a number."""
    return str(value) if isinstance(value, float) else value


Mode = Annotated[
    Literal["strict", "permissive", "off"],
    BeforeValidator(_mode),
    WithJsonSchema({"enum": list(MODES)}),
]
Version = Annotated[
    Literal["1.2", "1.3"], BeforeValidator(_version), WithJsonSchema({"enum": [*VERSIONS, 1.2, 1.3]})
]
Cipher = Literal[
    "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-CHACHA20-POLY1305",
]  # fmt: skip
"""What RFC 9325 (section 4.2) recommends of TLS 1.2: forward secrecy and authenticated encryption. Envoy has older ones; a mesh has no use for them."""


class PortModeFields(Part):
    port: Port = Field(description="The number of the service's port.")
    mode: Mode = Field(description="As `mode`, for this port.")


class MeshTlsFields(Part):
    mode: Mode | None = Field(
        None,
        description="By default strict: mesh TLS is taken and nothing else. permissive: plaintext is taken on the same port, too, as long as "
        "some callers have no sidecar yet; callers that have one speak mesh TLS. Who still speaks plaintext to whom is told by "
        "`meshwright plaintext`. off: callers of the mesh speak plaintext, and nothing is known of who they are.",
    )
    ports: list[PortModeFields] | None = Field(
        None, description="Other modes for some ports of a service, by the numbers that callers know."
    )
    minimum_version: Version | None = Field(
        None,
        description="The oldest TLS that callers may speak. By default 1.3, which is what sidecars speak among themselves in any case; 1.2 is "
        "for callers that bring a certificate of the mesh and no sidecar.",
    )
    cipher_suites: list[Cipher] | None = Field(
        None,
        min_length=1,
        description="What is taken of TLS 1.2, the preferred first. By default Envoy's own choice of those listed here. Those of 1.3 are "
        "fixed.",
    )

    def of(self, port: int | None) -> TlsMode:
        """The mode of the port of that number."""
        own = next((each.mode for each in self.ports or () if each.port == port), None)
        return TlsMode(own or self.mode or TlsMode.STRICT)


class MeshTlsSpec(Targeting, MeshTlsFields):
    pass


class MeshTLS(PolicyDocument):
    """Mutual TLS between services: required, taken, or not used."""

    api_version: Literal["meshwright.dev/v1alpha1"]
    kind: Literal["MeshTLS"]
    spec: MeshTlsSpec

    def own_problems(self) -> Iterator[Problem]:
        yield from self.callers_not_told_apart()
        ports = self.spec.ports or ()
        yield from repeated(("spec", "ports"), "port", [each.port for each in ports], "port")
        if self.spec.cipher_suites is not None and self.spec.minimum_version == "1.3":
            yield Problem(
                ("spec", "cipherSuites"),
                "the suites of TLS 1.3 are fixed, and 1.2 is not taken",
                'Set minimumVersion to "1.2", or remove cipherSuites',
            )


def check_together(fields: MeshTlsFields) -> None:
    """ValueError where what several policies say together cannot be: all of it is left out then, and the port is strict."""
    if fields.cipher_suites is not None and fields.minimum_version != "1.2":
        raise ValueError(
            "cipherSuites are those of TLS 1.2, which is not taken: set minimumVersion to 1.2, or remove them"
        )


def effect(fields: MeshTlsFields, where: Where) -> Parts:
    if where.port is None:
        return Parts()  # routes of a gateway: nothing is taken there
    parameters = TlsParameters()
    if fields.minimum_version == "1.2":
        parameters.tls_minimum_protocol_version = TlsParameters.TLSv1_2
    check_together(fields)
    parameters.cipher_suites.extend(fields.cipher_suites or ())
    return Parts(tls=serialised(parameters), plaintext=fields.of(where.port) is not TlsMode.STRICT)


def notes(state: MeshState, policy: Policy, target: TargetRef) -> Iterator[str]:
    """Ports that the service does not have: a strict one that is misspelt would stay open."""
    service = state.services.get(Key(target.namespace, target.name))
    if target.level is not Level.SERVICE or service is None:
        return
    there = {port.port for port in service.ports}
    said = MeshTlsFields.model_validate(thawed(policy.fields)).ports or ()
    missing = [str(each.port) for each in said if each.port not in there]
    if missing:
        has = ", ".join(str(each) for each in sorted(there))
        yield f"no effect at {target}: spec.ports: it has no port {', '.join(missing)}, but {has}"


EXAMPLE: Final = """\
apiVersion: meshwright.dev/v1alpha1
kind: MeshTLS
metadata: {name: api}
spec:
  targetRefs: [{kind: Service, name: api}]
  mode: strict
  ports: [{port: 80, mode: permissive}]  # as long as some callers have no sidecar
"""

KIND = PolicyKind(MeshTLS, MeshTlsFields, Side.CALLEE, effect, levels=ANYWHERE - {Level.ROUTE}, notes=notes)
