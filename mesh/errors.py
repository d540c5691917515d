"""What can be wrong with a value of the domain.

MeshError
├── InvalidName        a name, trust domain or SPIFFE id that cannot be one
└── InvalidAttachment  a policy that cannot be attached where it asks to be
"""

from __future__ import annotations


class MeshError(ValueError):
    """Base of the errors of this package. `str()` says what is wrong and what would be right."""


class InvalidName(MeshError):
    pass


class InvalidAttachment(MeshError):
    pass
