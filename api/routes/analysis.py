"""What is valid and yet not right, in documents, in what registries say, and at live proxies."""

from __future__ import annotations

from typing import Final

from api.errors import NotFound
from api.routing import Answer, Call, Route
from api.shapes.analysis import Analysis, AnalyzeQuery


async def analyze(call: Call[AnalyzeQuery, None]) -> Analysis:
    codes = tuple(filter(None, (call.query.code or "").split(",")))
    try:
        return await call.backend.analyze(codes, call.query.severity)
    except KeyError as error:
        raise NotFound(
            f"no check has a code that begins with {error.args[0]}: docs/analyze.md has all"
        ) from error


ROUTES: Final = (
    Route(
        "GET",
        "/analyze",
        "analyze",
        "What is valid and yet not right",
        analyze,
        {200: Answer(Analysis, "What was found, the worst first.")},
        tag="Mesh",
        query=AnalyzeQuery,
        problems=(404,),
    ),
)
