"""What can be asked of a store in one commit."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Final, Literal

from mesh.names import Key
from store.stored import Body, Managed, Name


class _Absent(enum.Enum):
    ABSENT = "absent"


ABSENT: Final = _Absent.ABSENT
"""As a resource version: the document must not be there yet."""
Expected = str | Literal[_Absent.ABSENT] | None
"""The resource version that the writer believes the document to have; None: whatever it has."""


@dataclass(frozen=True, slots=True)
class Put:
    """Create or replace a document. `managed` None leaves the field owners as they are.

    What `body` says that is the store's to say (`status`, `metadata.uid` and its like) is left out silently, so that what was
    read can be written back.
    """

    kind: str
    key: Key
    body: Body = field(hash=False)
    resource_version: Expected = None
    managed: Managed | None = field(default=None, hash=False)

    @property
    def name(self) -> Name:
        return self.kind, self.key


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a document. One that is not there is no error unless `resource_version` is given."""

    kind: str
    key: Key
    resource_version: str | None = None

    @property
    def name(self) -> Name:
        return self.kind, self.key


Write = Put | Delete
