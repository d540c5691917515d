"""What an answer that says no becomes: an error with its exit code, and every field error in words."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from meshwright.api_client import Api, path, refusal, told
from meshwright.errors import ExitCode, UnreachableError
from meshwright.targets import OnThisMachine

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


@pytest.mark.parametrize(("method", "route", "doubt"), [("POST", "batch", True), ("GET", "status", False)])
async def test_a_write_without_an_answer_may_have_been_written(
    tmp_path: Path, method: str, route: str, doubt: bool
) -> None:
    target = OnThisMachine(tmp_path)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(target))
        silent.listen()
        async with Api(target) as api:
            with pytest.raises(UnreachableError, match="no answer from") as said:
                await api.send(method, route, patience=0.1)
    assert ("It may have been written: look at `meshwright history`" in str(said.value)) is doubt


def test_paths_quote_what_is_foreign() -> None:
    assert path("documents", "HTTPRoute", "a b", "x/y?z") == "documents/HTTPRoute/a%20b/x%2Fy%3Fz"
