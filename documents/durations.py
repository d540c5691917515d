"""Durations as the Gateway API writes them, `1m30s` or `250ms` (https://gateway-api.sigs.k8s.io/geps/gep-2257/)."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from documents.envelope import wrong

PATTERN = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"
_WHOLE = re.compile(r"(?:[0-9]{1,5}(?:h|ms|m|s)){1,4}")
_PART = re.compile(r"([0-9]{1,5})(h|ms|m|s)")
_UNITS = {
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
}
LONGEST = timedelta(hours=99_999, minutes=59, seconds=59, milliseconds=999)


def parse(text: str) -> timedelta:
    """The duration that `text` says. Raises ValueError if it is not one of GEP-2257: units may come in any order."""
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"{text!r} is not a duration of GEP-2257")
    return sum((int(number) * _UNITS[unit] for number, unit in _PART.findall(text)), timedelta())


def show(duration: timedelta) -> str:
    """`duration` as GEP-2257 writes it: the largest unit first, none that is zero, and `0s` for nothing.

    Raises ValueError for what it cannot write: what is negative, longer than LONGEST, or finer than milliseconds.
    """
    if duration < timedelta() or duration > LONGEST or duration.microseconds % 1000:
        raise ValueError(f"{duration} cannot be written as a duration of GEP-2257")
    left, parts = duration, []
    for name, unit in _UNITS.items():
        count, left = divmod(left, unit)
        if count:
            parts.append(f"{count}{name}")
    return "".join(parts) or "0s"


def _read(given: object) -> timedelta:
    if isinstance(given, timedelta):  # A default of ours.
        return given
    if not isinstance(given, str):
        raise wrong(f"{given!r} is not a duration", "Write it with its unit, as 500ms, 10s or 1m30s")
    try:
        duration = parse(given)
    except ValueError as error:
        raise wrong(
            f"{given!r} is not a duration",
            "Use whole numbers of up to 5 digits, each with h, m, s or ms, as 500ms, 10s or 1m30s",
        ) from error
    if duration > LONGEST:
        raise wrong(f"{given!r} is longer than eleven years", f"Use at most {show(LONGEST)}")
    return duration


Duration = Annotated[
    timedelta,
    BeforeValidator(_read),
    PlainSerializer(show, return_type=str),
    WithJsonSchema({"type": "string", "pattern": PATTERN, "examples": ["500ms", "10s", "1m30s"]}),
]
"""A field of a document that is a duration, `timedelta` in Python."""
