"""What each command prints, through a pipe and in a terminal, on a real control plane: tests/feature/cli/<case>.txt.

`make golden` (MESHWRIGHT_REWRITE_GOLDENS=1) rewrites them and removes those that no case makes any more. Lines that begin with `! ` went
to standard error. What differs from run to run (times, hashes, ports) is masked at its own width, so that columns stay where they are.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from meshwright.cli import app
from tests.feature.cli_cases import CASES, ELSEWHERE, FILES, Case
from tests.support.control_plane import serving
from tests.support.terminal import on_screen, through_pipe

GOLDEN = Path(__file__).with_name("cli")
REWRITE = os.environ.get("MESHWRIGHT_REWRITE_GOLDENS") == "1"
_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
MASKS = (
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:\+00:00|Z)?",
    r"\d{4}-\d\d-\d\d \d\d:\d\d(?= UTC)",
    _UUID,
    r"\b[0-9a-f]{16,64}\b",
    r"127\.0\.0\.1:\d{4,5}\b",
    r"\b\d+s\b *",
    r"\b\d+\.\d+ (?:s|ms)\b",
    r"(?<![\d.])(?!127\.)\d+\.\d+\.\d+\b",
)


def masked(text: str, folder: Path) -> str:
    """What differs from run to run, each thing replaced by `#` as many times as it had characters; ages by `AGE`."""
    text = text.replace(str(folder), "FOLDER")

    def mask(match: re.Match[str]) -> str:
        found = match[0]
        bare = found.rstrip()
        if re.fullmatch(r"\d+s", bare):
            # `9s ` and `10s` in one column.
            return "AGE" + " " * max(0, len(found) - 3)
        return "#" * len(bare) + found[len(bare) :]

    for pattern in MASKS:
        text = re.sub(pattern, mask, text)
    return text


def run(case: Case, folder: Path, env: dict[str, str]) -> str:
    heading = f"$ meshwright {case.command}" + (f"   # {case.columns} columns" if case.columns else "")
    arguments = tuple(shlex.split(case.command))
    if case.columns:
        screen = on_screen(*arguments, columns=case.columns, env=env | case.env)
        return f"{heading}\n{masked(str(screen), folder)}exit {screen.code}\n"
    ran = through_pipe(*arguments, stdin=case.stdin, env=env | case.env)
    said = "".join(f"! {line}\n" for line in ran.err.splitlines())
    return f"{heading}\n{masked(ran.out + said, folder)}exit {ran.code}\n"


def _all(folder: Path, env: dict[str, str]) -> dict[str, str]:
    """Terminals come last, some at a time: each is a process of its own, and what they show changes nothing."""
    found = {case.name: run(case, folder, env) for case in CASES if case.columns is None}
    terminals = [case for case in CASES if case.columns is not None]
    with ThreadPoolExecutor(3) as pool:
        shown = pool.map(lambda case: run(case, folder, env), terminals)
        return found | dict(zip((case.name for case in terminals), shown, strict=True))


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What each case prints, masked."""
    folder = tmp_path_factory.mktemp("cli")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    env = {
        "MESHWRIGHT_DATA_DIR": str(folder / "data"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "COLUMNS": "80",
    }
    before = Path.cwd()
    os.chdir(folder)
    try:
        with serving(folder):
            yield _all(folder, env)
    finally:
        os.chdir(before)


@pytest.mark.parametrize("name", [case.name for case in CASES])
def test_a_command_prints_what_its_golden_file_says(name: str, printed: dict[str, str]) -> None:
    file = GOLDEN / f"{name}.txt"
    if REWRITE:
        file.write_text(printed[name])
    assert printed[name] == file.read_text(), "`make golden` rewrites it: read the difference"


def test_no_golden_file_is_left_over() -> None:
    names = {case.name for case in CASES}
    left_over = [each for each in GOLDEN.glob("*.txt") if each.stem not in names]
    if REWRITE:
        for each in left_over:
            each.unlink()
        left_over = []
    assert not left_over


def test_each_command_has_a_case_or_is_tried_elsewhere() -> None:
    commands = {each.name or each.callback.__name__ for each in app.registered_commands if each.callback}
    groups = {str(each.name) for each in app.registered_groups}
    tried = {shlex.split(case.command)[0] for case in CASES}
    assert commands | groups <= tried | ELSEWHERE.keys(), (
        "add a case to tests/feature/cli_cases.py, then `make golden`"
    )
    assert not tried & (ELSEWHERE.keys() - {"logs"})


def test_through_a_pipe_there_are_neither_colours_nor_boxes(printed: dict[str, str]) -> None:
    for case in CASES:
        if case.columns is None:
            assert not re.search(r"[\x1b\u2500-\u257f]", printed[case.name]), case.name


@pytest.mark.parametrize("name", ["get-all", "get-all-terminal", "get-all-narrow"])
def test_names_stand_whole_on_any_width(name: str, printed: dict[str, str]) -> None:
    assert "checkout-of-the-whole-shop" in printed[name]
