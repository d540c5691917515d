"""Documents as the API tells them: of the store and of files alike, with what the mesh says of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from api.ownership import shown_as_managed_fields
from documents.parsing import Document
from documents.reading import Tree
from store.stored import Name, Stored


class Conditions(Protocol):
    """What the mesh says of documents, by name: conditions and notes, as `status` has them. May take some time: called in a thread."""

    def __call__(self, names: Iterable[Name]) -> Mapping[Name, dict[str, Tree]]: ...


@dataclass(frozen=True, slots=True)
class Item:
    """One document: of the store, or of a file that the API does not write."""

    name: Name
    held: Stored | Document

    @property
    def version(self) -> str | None:
        """Its resource version; None for one that the store does not have."""
        return self.held.resource_version if isinstance(self.held, Stored) else None

    def tree(self) -> dict[str, Tree]:
        """As it was written, with what the store knows in its metadata."""
        if isinstance(self.held, Stored):
            return self.held.document()
        tree = self.held.piece.tree() if self.held.piece is not None else None
        found = tree if isinstance(tree, dict) else {}
        metadata = found.get("metadata")
        key = self.held.key
        return {
            **found,
            "metadata": {**(metadata if isinstance(metadata, dict) else {}), "namespace": key.namespace},
        }

    def labels(self) -> dict[str, str]:
        body = self.held.body if isinstance(self.held, Stored) else self.tree()
        metadata = body.get("metadata")
        labels = metadata.get("labels") if isinstance(metadata, dict) else None
        return {name: str(value) for name, value in labels.items()} if isinstance(labels, dict) else {}


def shown(
    items: Iterable[Item],
    conditions: Callable[[Iterable[Name]], Mapping[Name, dict[str, Tree]]] | None,
    *,
    owners: bool = False,
) -> list[dict[str, Tree]]:
    """`conditions` None: of a revision that is not in force, of which the mesh says nothing."""
    wanted = list(items)
    said = conditions(each.name for each in wanted) if conditions is not None else {}
    return [_shown(each, said.get(each.name, {}), owners=owners) for each in wanted]


def _shown(item: Item, said: dict[str, Tree], *, owners: bool) -> dict[str, Tree]:
    tree = item.tree()
    status: dict[str, Tree] = {"readOnly": not isinstance(item.held, Stored), **said}
    if isinstance(item.held, Stored):
        origin = f"store#{item.held.resource_version} {item.held.kind} {item.held.key}"
        if isinstance(known := status.get("origin"), list):
            status["inForce"] = said.get("inForce") is not False and origin in known
    else:
        status["file"] = str(item.held.where)
    if isinstance(item.held, Stored) and owners and isinstance(metadata := tree.get("metadata"), dict):
        version = tree.get("apiVersion")
        metadata["managedFields"] = shown_as_managed_fields(
            item.held.managed, version if isinstance(version, str) else ""
        )
    return {**tree, "status": status}
