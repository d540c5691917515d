"""Namespaces, where a source knows more of them than their names: the labels by which selectors choose them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from mesh.names import Key
from mesh.service import Labels

if TYPE_CHECKING:
    from mesh.state import MeshState

NAMESPACE: Final = "Namespace"
"""The kind under which they are declared."""


@dataclass(frozen=True, slots=True)
class Namespace:
    """`key` has no namespace. Sources that know no labels declare none."""

    key: Key
    labels: Labels = ()
    origin: tuple[str, ...] = field(default=(), compare=False)


def namespace(name: str, labels: Labels = (), origin: tuple[str, ...] = ()) -> Namespace:
    return Namespace(Key("", name), labels, origin)


def labels_in(state: MeshState) -> Callable[[str], Labels]:
    """The labels of a namespace in `state`, besides that of its own name; none of one that nobody declares."""

    def labels(name: str) -> Labels:
        found = state.declared.get((NAMESPACE, Key("", name)))
        return found.labels if isinstance(found, Namespace) else ()

    return labels
