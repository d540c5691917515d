"""How numbers are written in explanations."""

from __future__ import annotations

from fractions import Fraction

from google.protobuf.duration_pb2 import Duration


def share(of: Fraction) -> str:
    """`all`, or percent with as many digits as it takes."""
    if of == 1:
        return "all"
    value = float(of * 100)
    return (
        f"{value:.4f}".rstrip("0").rstrip(".") + " %" if value >= 0.0001 or not of else "less than 0.0001 %"
    )


def duration(of: Duration) -> str:
    """`250ms`, `1.5s`, `none` for zero, as documents have them where they can."""
    millis = of.seconds * 1000 + of.nanos / 1_000_000
    if not millis:
        return "none"
    return f"{millis:g}ms" if millis < 1000 or millis % 100 else f"{millis / 1000:g}s"
