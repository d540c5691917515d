"""What can go wrong with a store.

StoreError
├── DirectoryUnavailable   the directory, or a folder in it, is not there or cannot be listed
├── StoreUnavailable       it cannot be reached, opened or read for now; nothing was written
├── StoreLocked            another process holds it, longer than we wait; nothing was written
├── StoreFull              there is no room for what was to be written; nothing was written
├── StoreCorrupt           what it holds is damaged, or was made by a newer version
├── StoreTooLarge          a document or a batch is larger than the store takes
├── OutcomeUnknown         a write was sent, and nobody can say whether it landed
├── StoreReplaced          its history is another one than before: it was restored, or another store is there now
├── NoSuchRevision         there never was such a revision, or it is kept no longer
├── InvalidWrite           a write that cannot be meant: two of one document, a name that is not its key
├── BadStream              what was to be loaded is not an export, is damaged, or does not fit what is there
└── Conflict               documents are not what the writer believes them to be; nothing was written
"""

from __future__ import annotations

from dataclasses import dataclass

from mesh.names import Key


class StoreError(Exception):
    """Base of the errors of this package. `str()` says what happened, where, and the way out."""


class DirectoryUnavailable(StoreError):
    pass


class StoreUnavailable(StoreError):
    pass


class StoreLocked(StoreError):
    pass


class StoreFull(StoreError):
    pass


class StoreCorrupt(StoreError):
    pass


class StoreTooLarge(StoreError):
    pass


class OutcomeUnknown(StoreError):
    """`revision` and `id` are those of the revision that may be there: look for it before writing again."""

    def __init__(self, message: str, revision: int, ident: str) -> None:
        super().__init__(message)
        self.revision = revision
        self.id = ident


class StoreReplaced(StoreError):
    pass


class NoSuchRevision(StoreError):
    """`oldest` and `newest` are the numbers of those that are kept."""

    def __init__(self, number: int, oldest: int, newest: int) -> None:
        kept = f"{oldest} to {newest} are kept" if newest else "the store is empty"
        super().__init__(f"there is no revision {number}: {kept}")
        self.number, self.oldest, self.newest = number, oldest, newest


class InvalidWrite(StoreError):
    pass


class BadStream(StoreError):
    pass


@dataclass(frozen=True, slots=True)
class Clash:
    """One document that is not what its writer believes. Versions are resource versions; None: it is not there.

    `expected` is None where the writer said that there is no such document.
    """

    kind: str
    key: Key
    expected: str | None
    found: str | None

    def __str__(self) -> str:
        name = f"{self.kind} {self.key}"
        if self.expected is None:
            return f"{name} is there already (version {self.found})"
        if self.found is None:
            return f"{name} is gone (you have version {self.expected})"
        return f"{name} was changed meanwhile (you have version {self.expected}, it is {self.found})"


class Conflict(StoreError):
    """`clashes` names every document concerned."""

    def __init__(self, clashes: tuple[Clash, ...]) -> None:
        said = "; ".join(map(str, clashes[:10]))
        more = f"; and {len(clashes) - 10} more" if len(clashes) > 10 else ""
        super().__init__(f"{said}{more}. Nothing was written: read again, and repeat the change on that")
        self.clashes = clashes
