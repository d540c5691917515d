"""What a store says, as answers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from api.errors import (
    ApiError,
    Conflicting,
    InsufficientStorage,
    NotFound,
    TooLarge,
    TooOld,
    Unavailable,
    Unprocessable,
)
from store.errors import (
    Conflict,
    InvalidWrite,
    NoSuchRevision,
    StoreError,
    StoreFull,
    StoreTooLarge,
)


@contextlib.contextmanager
def answered() -> Iterator[None]:
    """ApiError in place of a StoreError."""
    try:
        yield
    except StoreError as error:
        raise answer(error) from error


def answer(error: StoreError) -> ApiError:
    match error:
        case Conflict():
            return Conflicting(str(error))
        case NoSuchRevision() if error.number < error.oldest:
            return TooOld(str(error))
        case NoSuchRevision():
            return NotFound(str(error))
        case InvalidWrite():
            return Unprocessable(str(error))
        case StoreTooLarge():
            return TooLarge(str(error))
        case StoreFull():
            return InsufficientStorage(str(error))
        case _:
            return Unavailable(str(error))
