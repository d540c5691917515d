"""`docs/analyze.md`, written from the catalogue: `python -m meshwright.analysis.markdown docs/analyze.md`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from meshwright.analysis.catalogue import CHECKS
from meshwright.analysis.finding import Check, Example

HEAD = """# What `meshwright analyze` looks for

`meshwright analyze` looks at what is valid and yet not right: in documents, in what registries say, and at live proxies. Each check has a
code, which stays. `--severity info` shows what is merely worth knowing, `--code MW02` those whose code begins so, `--explain` why each matters and what to do;
`--documents DIR` looks at documents alone, without a control plane; `--check` exits with 1 if there is an error.

An **error** means that requests fail, or soon will. A **warning**: something that was written does not do what it says, or is more open than it looks.

The examples stand beside a small mesh: `web` calls `api`, `api` calls `store`, two workloads of each in two zones, all with sidecars.
This page is written from the checks themselves (`make analyze-doc`), and a test runs each check over its example and over the cure.

| code | severity | what |
|---|---|---|
"""
GROUPS = {
    "MW01": "Services and workloads",
    "MW02": "Routes",
    "MW03": "Policies",
    "MW04": "Security",
    "MW05": "Live",
}


def page() -> str:
    rows = (f"| [{each.code}](#{each.code.lower()}) | {each.severity} | {each.title} |\n" for each in CHECKS)
    return HEAD + "".join(rows) + "".join(_sections())


def _sections() -> Iterator[str]:
    group = ""
    for check in CHECKS:
        if check.code[:4] != group:
            group = check.code[:4]
            yield f"\n## {GROUPS[group]}\n"
        yield _section(check)


def _section(check: Check) -> str:
    lines = [
        f'\n### <a id="{check.code.lower()}"></a>{check.code}: {check.title}\n',
        f"\n*{check.severity}*. {check.why}\n",
    ]
    lines += _example(check.bad)
    lines.append(f"\n**Cure:** {check.cure}\n")
    return "".join(lines)


def _example(example: Example) -> Iterator[str]:
    if example.documents:
        yield f"\n```yaml\n{_whole(example.documents)}```\n"
    if example.second:
        yield f"\nAnd from a registry, besides:\n\n```yaml\n{_whole(example.second)}```\n"
    shown = {name: value for name, value in example.live.items() if name != "ready" or value is not True}
    if shown:
        text = json.dumps(_short(shown), indent=1)
        yield f"\nWhat the control plane shows:\n\n```json\n{text}\n```\n"


def _whole(text: str) -> str:
    pieces = (piece.strip("\n") for piece in text.split("---\n"))
    ours = "apiVersion: meshwright.dev/v1alpha1\n"
    return "---\n".join(f"{'' if 'apiVersion' in piece else ours}{piece}\n" for piece in pieces if piece)


def _short(shown: object) -> object:
    """Of a list of proxies, those that are not as the others: the first, and one more if it is about their number."""
    if isinstance(shown, dict):
        return {
            name: value[:1] if name == "proxies" and isinstance(value, list) else value
            for name, value in shown.items()
        }
    return shown


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page())
