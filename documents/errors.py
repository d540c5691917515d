"""What can be wrong with documents.

DocumentError          where it is, what is wrong, and the way out
├── Unreadable         the file cannot be read as text: too large, binary, not permitted
├── Malformed          not YAML, or YAML that we refuse (aliases, tags, a key given twice, too deep)
├── Invalid            the document does not fit its kind: unknown kind or field, a value that cannot be
├── Conflict           two documents claim the same name or the same virtual address
├── Dangling           a document names another that is not there
└── NotPermitted       whoever may write where the document stands may not say what it says

They are collected, all of a file at once, rather than raised: each is a value that can be compared. `Caution` is
what an operator should know although nothing is refused.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Where:
    """A place in a document. `document` counts from 1; `subject` is like `Service default/api`.

    `path` is like `spec.ports[0].port`, `line` counts from 1; they are empty or None where there is nothing to name.
    """

    file: str
    document: int | None = None
    subject: str = ""
    path: str = ""
    line: int | None = None

    def __str__(self) -> str:
        file = self.file if self.line is None else f"{self.file}:{self.line}"
        document = "" if self.document is None else f"document {self.document}"
        if self.subject:
            document = f"{document} ({self.subject})" if document else self.subject
        return ", ".join(part for part in (file, document, self.path) if part)


@dataclass(unsafe_hash=True)
class DocumentError(Exception):
    """Base of the errors of this package. `str()` is one line: the place, the reason, the remedy."""

    where: Where
    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}. {self.remedy}"


class Unreadable(DocumentError):
    pass


class Malformed(DocumentError):
    pass


class Invalid(DocumentError):
    pass


class Conflict(DocumentError):
    pass


class Dangling(DocumentError):
    pass


class NotPermitted(DocumentError):
    pass


@dataclass(frozen=True, slots=True)
class Caution:
    """Something that is allowed and probably not meant. Reads like an error.

    `superseded`: it is said of a version that is still in force, while the file, and its lines, are another by now.
    """

    where: Where
    reason: str
    remedy: str
    superseded: bool = False

    def __str__(self) -> str:
        note = " (in force, from the last good version)" if self.superseded else ""
        return f"{self.where}{note}: {self.reason}. {self.remedy}"
