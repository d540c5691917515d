"""Why a pod gets no sidecar."""

from __future__ import annotations


class NotInjectable(ValueError):
    """The pod asks for a sidecar and cannot have one as it is. `str()` says what is in the way, and what to change."""
