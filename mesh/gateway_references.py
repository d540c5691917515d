"""References to what holds certificates: what each may be for, and of which kinds it may be."""

from __future__ import annotations

from enum import Enum

from mesh.gateways import ObjectRef

SECRET = "Secret"  # noqa: S105 (a kind of document)
GROUPS = ("", "meshwright.dev")
"""Where Secrets and ConfigMaps are: in Kubernetes' core group, or in ours, for the documents that stand for them."""


class Role(Enum):
    """What is referred to, by the reason that the Gateway API has for one that cannot be used."""

    CERTIFICATE = "InvalidCertificateRef"
    AUTHORITY = "InvalidCACertificateRef"
    CLIENT_CERTIFICATE = "InvalidClientCertificateRef"

    @property
    def kinds(self) -> tuple[str, ...]:
        """What it may be, in the core group or in ours."""
        return ("ConfigMap", SECRET) if self is Role.AUTHORITY else (SECRET,)

    @property
    def wrong_kind(self) -> str:
        """The reason of the Gateway API's for a reference to something else."""
        return "InvalidCACertificateKind" if self is Role.AUTHORITY else self.value

    @property
    def fields(self) -> str:
        """What of a Secret document it needs."""
        return "authoritiesFile" if self is Role.AUTHORITY else "certificateFile and keyFile"


def known(role: Role, reference: ObjectRef) -> bool:
    """Whether what `reference` names could be used as `role`, by its kind."""
    return reference.group in GROUPS and reference.kind in role.kinds
