"""Structured logs: one line an event, on standard error, as JSON or for a terminal. Secrets are never passed in."""

from __future__ import annotations

import logging
import sys
from typing import Literal, get_args

import structlog

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["json", "console"]
LEVELS: tuple[Level, ...] = get_args(Level)
FORMATS: tuple[Format, ...] = get_args(Format)


def configure(level: Level, form: Format, ring: structlog.typing.Processor | None = None) -> None:
    """`ring` is given every event that is logged."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        *([ring] if ring is not None else []),
    ]
    # Both would show the locals of every frame if they were not told: keys and tokens are among them.
    as_fields = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    as_text = structlog.dev.RichTracebackFormatter(show_locals=False)
    last: list[structlog.typing.Processor] = (
        [structlog.processors.ExceptionRenderer(as_fields), structlog.processors.JSONRenderer()]
        if form == "json"
        else [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=as_text)]
    )
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=level.upper() if level != "info" else "WARNING", stream=sys.stderr)
