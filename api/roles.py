"""Who calls, and what they may do. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum


class Role(IntEnum):
    """Each may what those below may. VIEWER reads, EDITOR writes documents, ADMIN commands the authority, tokens and the program."""

    VIEWER = 1
    EDITOR = 2
    ADMIN = 3

    @classmethod
    def parse(cls, text: str) -> Role:
        """ValueError if there is no such role."""
        try:
            return cls[text.upper()]
        except KeyError:
            raise ValueError(f"{text[:40]!r} is no role: use viewer, editor or admin") from None

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Grant:
    """A role in some namespaces; `namespaces` None: in all, and in what has none."""

    role: Role
    namespaces: frozenset[str] | None = None

    def covers(self, role: Role, namespace: str | None) -> bool:
        return self.role >= role and (self.namespaces is None or namespace in self.namespaces)


def grant(text: str) -> Grant:
    """`viewer`, or `editor:shop,blog` for some namespaces. ValueError if it is none."""
    role, colon, places = text.partition(":")
    namespaces = frozenset(each.strip() for each in places.split(","))
    if colon and "" in namespaces:
        raise ValueError(
            f"{text[:100]!r} names no namespace after its colon: use ROLE, or ROLE:NAMESPACE,NAMESPACE"
        )
    return Grant(Role.parse(role.strip()), namespaces if colon else None)


class Way(StrEnum):
    """How a caller has proved who they are."""

    SOCKET = "socket"
    TOKEN = "token"  # noqa: S105 (the name of a way, no token)
    CERTIFICATE = "certificate"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Caller:
    """`name` is what the history calls them; `peer` is the address that they call from."""

    name: str
    way: Way
    peer: str
    grants: tuple[Grant, ...] = ()

    def may(self, role: Role, namespace: str | None = None) -> bool:
        """Whether they have `role` in `namespace`; None: everywhere."""
        return any(grant.covers(role, namespace) for grant in self.grants)

    def may_somewhere(self, role: Role) -> bool:
        return any(grant.role >= role for grant in self.grants)
