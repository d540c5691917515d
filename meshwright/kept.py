"""Where the control plane has its documents."""

from __future__ import annotations

from dataclasses import dataclass, replace

from api.standing import Standing
from api.writing import Writer
from documents.sets import DocumentSet
from meshwright.foresight import Foresight
from meshwright.stores import STORE
from policies.registry import KINDS
from store.directory import Directory
from store.kubernetes_sets import ClusterDocuments
from store.repository import Repository
from store.sets import StoreDocuments


@dataclass(frozen=True, slots=True)
class Kept:
    """The store, what of it was read last, the directory, and the objects of a cluster; None for what there is not."""

    repository: Repository | None
    stored: StoreDocuments | None
    directory: Directory | None
    cluster: ClusterDocuments | None = None

    def files(self) -> DocumentSet:
        """The documents that are read from elsewhere than the store: of the directory, and of the cluster."""
        files = self.directory.latest if self.directory is not None else DocumentSet()
        if self.cluster is None:
            return files
        there = self.cluster.held.documents
        if not files.files:
            return there
        # The directory comes first, as among the sources.
        return replace(files, files=there.files.update(files.files), index=there.index.update(files.index))

    def commit(self) -> str | None:
        """Of the working tree of Git that the directory is in."""
        tree = self.directory.tree if self.directory is not None else None
        return str(tree) if tree is not None else None

    def of_store(self) -> DocumentSet:
        return self.stored.latest[0] if self.stored is not None else DocumentSet()

    def writer(self, foresight: Foresight) -> Writer | None:
        if self.repository is None or self.stored is None:
            return None
        stored = self.stored
        standing = Standing(self.repository, lambda: stored.latest, KINDS)
        return Writer(self.repository, standing, self.files, foresight, STORE)
