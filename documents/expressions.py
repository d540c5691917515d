"""Regular expressions of users: RE2, checked by the very engine that Envoy has, and within Envoy's limit of size.

One expression that Envoy refuses makes it refuse the whole resource that holds it, so none may get that far.
Source: https://www.envoyproxy.io/docs/envoy/latest/api-v3/type/matcher/v3/regex.proto
"""

from __future__ import annotations

from typing import Annotated

import re2
from pydantic import AfterValidator

from documents.envelope import wrong

MAX_PROGRAM = 100
"""Envoy refuses an expression whose compiled program has more instructions (`re2.max_program_size.error_level`)."""


def check(expression: str) -> str:
    """`expression`, if Envoy takes it; raises what a validator of a field raises."""
    problem = flaw(expression)
    if problem is not None:
        raise wrong(*problem)
    return expression


def flaw(expression: str) -> tuple[str, str] | None:
    """Why Envoy would refuse `expression`, and the way out; None if it would not."""
    options = re2.Options()
    options.log_errors = False
    # Envoy compiles for bytes: the limit counts what a program for bytes has.
    options.encoding = re2.Options.Encoding.LATIN1
    try:
        compiled = re2.compile(expression.encode(), options)
    except re2.error as error:
        said = error.args[0] if error.args else b"it cannot be compiled"
        reason = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
        return (
            f"{expression!r} is not a regular expression of RE2: {reason}",
            "See https://github.com/google/re2/wiki/Syntax; it has no look-around and no back-references",
        )
    if compiled.programsize > MAX_PROGRAM:
        return (
            f"{expression!r} is too large: compiled it has {compiled.programsize} instructions",
            f"Envoy takes at most {MAX_PROGRAM}; counted repetitions such as {{1,50}} are what makes it large",
        )
    return None


Expression = Annotated[str, AfterValidator(check)]
"""A field of a document that is a regular expression."""
