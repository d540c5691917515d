"""What an answer that says no becomes: an error with its exit code, and every field error in words."""

from __future__ import annotations

import pytest

from meshwright.api_client import path, refusal, told
from meshwright.errors import ExitCode

PROBLEM = {
    "title": "Not valid",
    "status": 422,
    "detail": "2 things are wrong, nothing was written. The first: x",
    "errors": [
        {
            "document": "RetryPolicy a/b",
            "path": "documents[0].spec.attempts",
            "reason": "'x' is text",
            "remedy": "Give a number",
        },
        {"document": "", "path": "stage", "reason": "no stage", "remedy": ""},
    ],
}


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, ExitCode.FAILED), (401, ExitCode.FORBIDDEN), (403, ExitCode.FORBIDDEN), (404, ExitCode.NOT_FOUND), (409, ExitCode.CONFLICT),
        (412, ExitCode.CONFLICT), (422, ExitCode.FAILED), (429, ExitCode.FAILED), (500, ExitCode.FAILED), (503, ExitCode.UNREACHABLE),
        (504, ExitCode.LATE),
    ],
)  # fmt: skip
def test_each_status_has_an_exit_code(status: int, code: ExitCode) -> None:
    assert refusal(status, {"detail": "no"}).exit_code is code
    assert refusal(status, "no").exit_code is code


def test_every_error_of_a_problem_is_told_with_its_way_out() -> None:
    assert str(refusal(422, PROBLEM)).splitlines() == [
        "2 things are wrong, nothing was written.",
        "  RetryPolicy a/b spec.attempts: 'x' is text: Give a number",
        "  stage: no stage",
    ]


def test_where_it_stands_comes_first() -> None:
    lines = told(PROBLEM, lambda document, field: "shop.yaml:6" if document and "attempts" in field else None)
    assert lines.splitlines()[1].startswith("  shop.yaml:6 RetryPolicy a/b spec.attempts")


def test_fields_of_others_name_their_owner() -> None:
    owners = [{"document": "RetryPolicy a/b", "path": "spec.attempts", "manager": "ci"}]
    said = str(refusal(409, {"detail": "conflict", "owners": owners}))
    assert "field manager 'ci' owns it" in said
    assert "--force-conflicts" in said


def test_paths_quote_what_is_foreign() -> None:
    assert path("documents", "HTTPRoute", "a b", "x/y?z") == "documents/HTTPRoute/a%20b/x%2Fy%3Fz"
