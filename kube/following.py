"""What to ask of the API server next, and what its answers change: list once, then watch, for ever. Sans-I/O.

The rules are those of client-go's reflector (https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes):
a watch that ends is asked for again from the last version, which bookmarks keep young; one whose version is compacted (410) is
followed by a list, whose difference from what is known is told. What is known stays known whatever goes wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

from kube.answers import Asked, status_error
from kube.errors import ApiError, Busy, Expired, Forbidden, NotFound, Unreachable
from kube.resource import Object, ObjectName, name_of

T = TypeVar("T")

FIRST_PAUSE = 0.2
LONGEST_PAUSE = 15.0
"""Seconds before another try: doubled from the first to the longest, each drawn from its upper half."""
SHORT = 1.0
"""Seconds: a watch without a word that ends sooner counts as a failure, so that a server which ends all of them is not asked in a loop."""
WATCH_SECONDS = (240, 480)
"""How long a watch lasts: drawn anew for each, so that they do not all end at once."""
PAGE_TRIES = 3
"""Failures of one page after which the whole list begins anew: what its token stands for may be gone for good."""


@dataclass(frozen=True, slots=True)
class ListPage:
    """Ask for a page, 0 for all in one, and tell `Following.page`."""

    more: str
    limit: int


@dataclass(frozen=True, slots=True)
class WatchFrom:
    """Watch, and tell `opened`, `batch` and `ended`."""

    version: str
    seconds: int


@dataclass(frozen=True, slots=True)
class Pause:
    """Do nothing for this many seconds."""

    seconds: float


Step = ListPage | WatchFrom | Pause


@dataclass(frozen=True, slots=True)
class Replaced(Generic[T]):
    """A whole list: the first, or one after history was lost. `values` is all there is, of which `changed` are new or other than
    before, and `gone` are no more there, with what they were.
    """

    values: Mapping[ObjectName, T]
    changed: tuple[ObjectName, ...]
    gone: Mapping[ObjectName, T]


@dataclass(frozen=True, slots=True)
class Changed(Generic[T]):
    """One object is new, or what is kept of it is another than `before`."""

    name: ObjectName
    value: T
    before: T | None


@dataclass(frozen=True, slots=True)
class Gone(Generic[T]):
    """One object is deleted, or is no more one to keep."""

    name: ObjectName
    before: T


class Cause(Enum):
    """What kind of failure it is."""

    PASSING = "passing"
    """The server is away, busy or in trouble: it may answer in a moment."""
    FORBIDDEN = "forbidden"
    """403: until somebody grants the right."""
    NOT_SERVED = "not served"
    """404: the server does not have the resource, or not in this version any more."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The server cannot be read for now; what was told stays in force, and it is tried again. Told when the reason is another."""

    reason: str
    cause: Cause = Cause.PASSING

    @property
    def lasting(self) -> bool:
        """Whether it stays so until somebody does something: no reason to wait for what is not needed."""
        return self.cause is not Cause.PASSING


@dataclass(frozen=True, slots=True)
class Recovered:
    """The server can be read again. Told before what it says."""


Event = Replaced[T] | Changed[T] | Gone[T] | Failed | Recovered


class Following(Generic[T]):
    """`keep` takes of an object what is needed (values are compared by ==), or None if nothing is. `random` gives floats in [0, 1).

    `next` says what to do; every method else takes an outcome and gives what is to be told, in order.
    """

    def __init__(
        self,
        asked: Asked,
        keep: Callable[[Object], T | None],
        random: Callable[[], float],
        *,
        page: int = 500,
    ) -> None:
        self._asked = asked
        self._keep = keep
        self._random = random
        self._page = page
        self._values: dict[ObjectName, T] = {}
        self._version = ""  # to watch from; "" while a list is due
        self._fresh: dict[ObjectName, T] = {}  # what the pages of a list have brought so far
        self._other: list[ObjectName] = []  # which of it is new, or other than before
        self._more = ""
        self._limit = page
        self._tries = 0
        self._page_tries = 0  # how often the page after the last one has failed
        self._pause = 0.0
        self._reason = ""  # why it failed, as long as it fails
        self._spoken = False  # the watch has brought something
        self._compacted = False  # the version of the list itself was compacted
        self._synced = False

    @property
    def synced(self) -> bool:
        """Whether a whole list was read."""
        return self._synced

    @property
    def values(self) -> Mapping[ObjectName, T]:
        """All that is kept now, of the last list and of what happened since."""
        return self._values

    def next(self) -> Step:
        if self._pause:
            pause, self._pause = self._pause, 0.0
            return Pause(pause)
        if not self._version:
            return ListPage(self._more, self._limit)
        self._spoken = False
        low, high = WATCH_SECONDS
        return WatchFrom(self._version, low + int(self._random() * (high - low)))

    def page(self, kept: Mapping[ObjectName, T], version: str, more: str) -> list[Event[T]]:
        """A page of a list came: what `keep_all` makes of it and of `values`."""
        self._fresh.update(kept)
        # `keep_all` has compared them, off the event loop: what is not the very value of before is another.
        self._other += [name for name, value in kept.items() if self._values.get(name) is not value]
        self._more, self._page_tries = more, 0
        told: list[Event[T]] = self._recovered()
        if more:
            return told
        before, self._values, self._fresh = self._values, self._fresh, {}
        self._version, self._limit, self._synced = version, self._page, True
        changed, self._other = tuple(dict.fromkeys(self._other)), []
        lost = before.keys() - self._values.keys()
        gone = {name: value for name, value in before.items() if name in lost} if lost else {}
        return [*told, Replaced(dict(self._values), changed, gone)]

    def opened(self) -> list[Event[T]]:
        """The server has accepted the watch."""
        return self._recovered()

    def batch(self, events: Iterable[Object]) -> list[Event[T]]:
        """Events of the watch. After an ERROR the rest is not read, and `next` says how to go on: the watch is over."""
        told: list[Event[T]] = []
        for event in events:
            kind, value = event.get("type"), event.get("object")
            if kind == "ERROR" or not isinstance(value, dict):
                status = (
                    value
                    if isinstance(value, dict)
                    else {"message": f"an event of type {kind!r} without an object"}
                )
                return told + self.failed(status_error(self._asked, status))
            version = str(value.get("metadata", {}).get("resourceVersion", ""))
            if kind == "BOOKMARK":
                if _went_back(self._version, version):
                    # The server was restored from a backup: it would keep silent until its history is as long as it was.
                    self._relist()
                    return told
            else:
                told += self._object(str(kind), value)
            self._version = version or self._version
            self._spoken, self._compacted, self._tries = True, False, 0
        return told

    @property
    def watching(self) -> bool:
        """Whether the watch that was opened is still good. False after an ERROR."""
        return bool(self._version) and not self._pause

    def ended(self, lasted: float) -> None:
        """The watch ended without an error, after `lasted` seconds: servers end them when their time is over."""
        if lasted < SHORT and not self._spoken:
            self._wait(0.0)
        else:
            self._tries = 0

    def failed(self, error: ApiError) -> list[Event[T]]:
        """A request failed, or a watch broke."""
        if isinstance(error, Expired):
            if self._more:
                self._limit = 0  # the list took longer than history lasts: all of it in one answer
            self._relist()
            if not self._compacted:
                # Once is how it goes; twice without a word between is told.
                self._compacted = True
                return []
        elif self._more:
            self._page_tries += 1
            if self._page_tries >= PAGE_TRIES or not isinstance(error, Unreachable | Busy):
                self._relist()
        self._wait(error.retry_after)
        reason = str(error)
        if reason == self._reason:
            return []
        self._reason = reason
        return [Failed(reason, _cause(error))]

    def _object(self, kind: str, value: Object) -> list[Event[T]]:
        name = name_of(value)
        before = self._values.get(name)
        now = None if kind == "DELETED" else self._keep(value)
        if now == before:
            return []
        if now is not None:
            self._values[name] = now
            return [Changed(name, now, before)]
        return [Gone(name, self._values.pop(name))]

    def _relist(self) -> None:
        self._version, self._more, self._page_tries = "", "", 0
        self._fresh, self._other = {}, []

    def _recovered(self) -> list[Event[T]]:
        if not self._reason:
            return []
        self._reason = ""
        return [Recovered()]

    def _wait(self, least: float) -> None:
        cap = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self._tries, 30))
        self._tries += 1
        self._pause = max(least, cap * (0.5 + self._random() / 2))


def keep_all(
    keep: Callable[[Object], T | None], items: Iterable[Object], before: Mapping[ObjectName, T]
) -> dict[ObjectName, T]:
    """What is kept of a page: the very value of `before` where it is equal. Apart from `Following`, for it may be done in a thread."""
    kept: dict[ObjectName, T] = {}
    for item in items:
        name, value = name_of(item), keep(item)
        if value is not None:
            old = before.get(name)
            kept[name] = old if old is not None and old == value else value
    return kept


def _cause(error: ApiError) -> Cause:
    if isinstance(error, Forbidden):
        return Cause.FORBIDDEN
    return Cause.NOT_SERVED if isinstance(error, NotFound) else Cause.PASSING


def _went_back(before: str, now: str) -> bool:
    """Versions grow (https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions); only what is a number is judged."""
    return before.isdecimal() and now.isdecimal() and int(now) < int(before)
