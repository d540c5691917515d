"""Where certificates and keys of gateways are kept: in files, which documents name and never hold."""

from __future__ import annotations

from dataclasses import dataclass, field

from mesh.names import Key

Bundle = tuple[Key, ...]
"""Secret documents whose authorities are trusted together, sorted; none: nobody is trusted."""


@dataclass(frozen=True, slots=True)
class SecretFiles:
    """Paths of PEM files, absolute or relative to the directory of the documents; at least one is there.

    `certificate` (the leaf first, then its intermediates) and `private_key` belong together: both are there, or none.
    `authorities` are certificates by which those of clients are verified.
    """

    key: Key
    certificate: str | None = None
    private_key: str | None = None
    authorities: str | None = None
    origin: tuple[str, ...] = field(default=(), compare=False)
