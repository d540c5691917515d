"""Single looks at a real directory, at times that the test chooses."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from documents.kinds import KINDS
from store.errors import DirectoryUnavailable
from store.scanning import YOUNG, Scan, Scanner
from tests.support.builders import service_document

LONG = 10 * 1_000_000_000


@dataclass
class Clock:
    """`ahead` nanoseconds after the real time."""

    ahead: int = LONG

    def __call__(self) -> int:
        return time.time_ns() + self.ahead


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def scanner(tmp_path: Path, clock: Clock) -> Scanner:
    return Scanner(tmp_path, KINDS, clock)


def names(scan: Scan) -> list[list[str]]:
    return [[document.key.name for document in parsed.documents] for parsed in scan.read]


def stop(clock: Clock, path: Path) -> None:
    """Let the time be that of the last change of `path`, however long the test takes."""
    clock.ahead = path.stat().st_ctime_ns - time.time_ns() + YOUNG // 2


@pytest.mark.parametrize("left", ["", service_document("api"), service_document("api") + "---\na: ["])
def test_what_seems_to_be_missing_or_wrong_is_believed_only_when_the_file_has_settled(
    tmp_path: Path, scanner: Scanner, clock: Clock, left: str
) -> None:
    path = tmp_path / "api.yaml"
    path.write_text(service_document("api") + service_document("web"))
    assert names(scanner.scan()) == [["api", "web"]]
    path.write_text(left)
    stop(clock, path)
    early = scanner.scan()
    assert early.young
    assert not early
    clock.ahead = LONG
    late = scanner.scan()
    assert not late.young
    assert [parsed.file for parsed in late.read] == ["api.yaml"]
    assert not scanner.scan()


def test_what_is_new_is_believed_at_once_and_looked_into_again(
    tmp_path: Path, scanner: Scanner, clock: Clock
) -> None:
    path = tmp_path / "api.yaml"
    path.write_text(service_document("api"))
    stop(clock, path)
    assert names(scanner.scan()) == [["api"]]
    path.write_text(service_document("api") + service_document("web"))
    stop(clock, path)
    scan = scanner.scan()
    assert names(scan) == [["api", "web"]]
    assert scan.young
    clock.ahead = LONG
    assert scanner.scan() == Scan()


def test_a_file_that_goes_is_believed_at_once(tmp_path: Path, scanner: Scanner) -> None:
    (tmp_path / "api.yaml").write_text(service_document("api"))
    scanner.scan()
    (tmp_path / "api.yaml").unlink()
    assert scanner.scan() == Scan(gone=("api.yaml",))


def test_a_file_of_the_same_content_says_nothing_new(tmp_path: Path, scanner: Scanner) -> None:
    path = tmp_path / "api.yaml"
    path.write_text(service_document("api"))
    assert scanner.scan()
    path.write_text(service_document("api"))
    assert not scanner.scan()


def test_a_clock_behind_that_of_the_file_system_holds_nothing_up(
    tmp_path: Path, scanner: Scanner, clock: Clock
) -> None:
    path = tmp_path / "api.yaml"
    path.write_text(service_document("api") + service_document("web"))
    clock.ahead = -LONG
    scanner.scan()
    path.write_text(service_document("api"))
    assert names(scanner.scan()) == [["api"]]


def test_a_directory_that_is_not_there_forgets_nothing(tmp_path: Path, clock: Clock) -> None:
    root = tmp_path / "docs"
    root.mkdir()
    scanner = Scanner(root, KINDS, clock)
    (root / "api.yaml").write_text(service_document("api"))
    assert scanner.scan()
    root.rename(tmp_path / "away")
    with pytest.raises(DirectoryUnavailable, match="is not there: create it"):
        scanner.scan()
    (tmp_path / "away").rename(root)
    assert scanner.scan() == Scan()
