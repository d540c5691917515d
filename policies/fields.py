"""Types of fields that several kinds share. They stay text and numbers, so that what several policies say can be merged."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from google.protobuf.duration_pb2 import Duration as DurationMessage
from pydantic import AfterValidator, Field, WithJsonSchema

from documents.durations import PATTERN, parse, show
from documents.envelope import wrong
from pb.envoy.type.v3.percent_pb2 import FractionalPercent


def _duration(text: str) -> str:
    try:
        parse(text)
    except ValueError as error:
        raise wrong(f"{text!r} is not a duration", "Write it like 250ms, 5s or 1m30s") from error
    return text


def _positive(text: str) -> str:
    if not parse(_duration(text)):
        raise wrong(f"{text} is no time at all", "Use a duration above zero, or leave the field out")
    return text


DURATION_SCHEMA = {"type": "string", "pattern": PATTERN}
Duration = Annotated[str, AfterValidator(_duration), WithJsonSchema(DURATION_SCHEMA)]
"""A duration as in the Gateway API (GEP-2257): `250ms`, `1m30s`. Zero means none where the field says so."""
PositiveDuration = Annotated[str, AfterValidator(_positive), WithJsonSchema(DURATION_SCHEMA)]
Percent = Annotated[float, Field(ge=0, le=100, strict=False)]
Count = Annotated[int, Field(ge=0, le=2**32 - 1)]
Positive = Annotated[int, Field(ge=1, le=2**32 - 1)]


def seconds(text: str) -> timedelta:
    """A duration that was validated."""
    return parse(text)


def text(duration: timedelta) -> str:
    """As a document would have it."""
    return show(duration)


def set_duration(target: DurationMessage, text: str) -> None:
    target.FromTimedelta(parse(text))
    target.SetInParent()


def set_percent(target: FractionalPercent, percent: float) -> None:
    """To a ten-thousandth of a percent."""
    target.numerator = round(percent * 10_000)
    target.denominator = FractionalPercent.MILLION
