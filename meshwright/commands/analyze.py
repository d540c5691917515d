"""`meshwright analyze`: what is valid and yet not right."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meshwright.commands.options import DocumentsOption, Output, OutputOption
from meshwright.commands.remote import remote_unless

if TYPE_CHECKING:
    from rich.console import Console

    from api.shapes.analysis import Analysis
    from meshwright.api_client import Api

STYLES = {"error": "red", "warning": "yellow", "info": "dim"}


class Least(StrEnum):
    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@remote_unless("documents")
async def analyze(
    api: Api,
    code: Annotated[
        list[str] | None,
        typer.Option(
            "--code", metavar="CODE", help="Only checks that begin so: MW02, MW0401. Repeat it for more."
        ),
    ] = None,
    severity: Annotated[Least, typer.Option("--severity", help="This and worse.")] = Least.WARNING,
    documents: DocumentsOption = None,
    explain: Annotated[bool, typer.Option("--explain", help="Say why each matters, and what to do.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Exit with 1 if there is an error.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Look for what is valid and yet not right: in documents, in what registries say, and at live proxies.

    Each check has a code; docs/analyze.md shows what each sees, with an example and its cure.
    """
    from meshwright.commands.output import show

    codes = tuple(code or ())
    if documents is not None:
        found = _offline(documents, codes, severity)
    else:
        from api.shapes.analysis import Analysis

        asked = {"code": ",".join(codes) or None, "severity": severity.value}
        found = await api.read(Analysis, "analyze", asked)
    show(
        output,
        found.model_dump(mode="json", by_alias=True),
        lambda console: _people(console, found, explain=explain),
        [f"{each.code} {each.subject}" for each in found.findings],
    )
    if check and any(each.severity == "error" for each in found.findings):
        raise typer.Exit(1)


def _offline(documents: Path, codes: tuple[str, ...], severity: Least) -> Analysis:
    from meshwright.analysis.analyst import selected, told
    from meshwright.analysis.offline import sight
    from meshwright.errors import UsageError

    try:
        checks = selected(codes, severity.value)
    except KeyError as error:
        raise UsageError(f"no check has a code that begins with {error.args[0]}") from error
    return told(checks, sight(documents))


def _people(console: Console, found: Analysis, *, explain: bool) -> None:
    from meshwright.commands.output import line

    for each in found.findings:
        line(console, f"{each.severity} {each.code} {each.subject}: {each.message}", STYLES[each.severity])
        if explain:
            line(console, f"  {each.title}. {each.why}")
            line(console, f"  What to do: {each.cure}")
            for document in each.documents[:5]:
                line(console, f"  {document}")
    counted = [f"{sum(each.severity == kind for each in found.findings)} {kind}" for kind in STYLES]
    line(
        console,
        f"{found.checks} checks: {', '.join(counted)}"
        + ("" if found.live else "; no live proxy was looked at"),
    )
