"""What a run of the conformance suite said, for each test, and a table of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

HALVES = {"mesh": ("MESH-HTTP", "MESH-GRPC"), "gateway": ("GATEWAY-HTTP", "GATEWAY-GRPC", "GATEWAY-TLS")}
ENDED = re.compile(
    r"^(?P<indent> *)--- (?P<outcome>PASS|FAIL|SKIP): TestConformance/(?P<name>\S+) \((?P<seconds>[\d.]+)s\)"
)
AT = re.compile(r"^=== (?:RUN|CONT|NAME|PAUSE) +TestConformance/(\S+)")
WHY = re.compile(
    r"^\s+(?:Error:|Messages:)\s+(.*\S)|^\s+\w+\.go:\d+: (.*(?:[Ff]ail|timed out|expected|unexpected|[Ee]rror).*)"
)


@dataclass(frozen=True, slots=True)
class Test:
    name: str
    features: frozenset[str]


@dataclass(slots=True)
class Result:
    """One test: PASS, FAIL or SKIP, the half it ran in, how long it took, and for a failure what its log says first."""

    name: str
    half: str
    outcome: str
    seconds: float
    why: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Suite:
    """The suite's tests and profiles, as ./list prints them."""

    tests: tuple[Test, ...]
    profiles: Mapping[str, tuple[frozenset[str], frozenset[str]]]
    """Core and extended features of each."""
    halves: Mapping[str, tuple[str, ...]]

    @classmethod
    def read(cls, listed: Mapping[str, Any]) -> Suite:
        return cls(
            tests=tuple(Test(each["name"], frozenset(each["features"])) for each in listed["tests"]),
            profiles={
                name: (frozenset(each["core"]), frozenset(each["extended"]))
                for name, each in listed["profiles"].items()
            },
            halves=HALVES,
        )

    def half(self, test: str) -> str:
        """A test of the mesh needs the feature Mesh; all others need gateways."""
        found = next((each for each in self.tests if each.name == test), None)
        if found is None:
            raise SystemExit(f"the suite has no test {test}")
        return "mesh" if "Mesh" in found.features else "gateway"

    def of(self, half: str) -> list[Test]:
        return [each for each in self.tests if self.half(each.name) == half]

    def extended(self, half: str) -> set[str]:
        return {feature for name in self.halves[half] for feature in self.profiles[name][1]}

    def level(self, profile: str, test: Test) -> str | None:
        """How a profile counts a test: it must know all the test's features; one extended feature makes it extended."""
        core, extended = self.profiles[profile]
        if not test.features <= core | extended:
            return None
        return "core" if test.features <= core else "extended"


def read_log(text: str, half: str) -> dict[str, Result]:
    """The results of the top-level tests, by name, in the log of `go test -v`."""
    results: dict[str, Result] = {}
    why: dict[str, list[str]] = {}
    at = ""
    for line in text.splitlines():
        if named := AT.match(line):
            at = named[1].split("/")[0]
        elif ended := ENDED.match(line):
            if "/" not in ended["name"]:
                results[ended["name"]] = Result(
                    ended["name"], half, ended["outcome"], float(ended["seconds"]), why.get(ended["name"], [])
                )
        elif said := WHY.match(line):
            why.setdefault(at, []).append((said[1] or said[2]).strip())
    return results


def table(suite: Suite, results: Mapping[str, Result]) -> str:
    """Markdown: a row for each profile, then one for each test that did not pass."""
    lines = [
        "| profile | core | extended |",
        "|---|---:|---:|",
    ]

    def counted(tests: list[Test]) -> str:
        if not tests:
            return "none"
        ran = [
            each
            for each in tests
            if each.name in results and suite.half(each.name) == results[each.name].half
        ]
        passed = sum(results[each.name].outcome == "PASS" for each in ran)
        return f"{passed} of {len(tests)}" if ran else f"not run ({len(tests)})"

    for names in suite.halves.values():
        for name in names:
            core = [each for each in suite.tests if suite.level(name, each) == "core"]
            extended = [each for each in suite.tests if suite.level(name, each) == "extended"]
            lines.append(f"| {name} | {counted(core)} | {counted(extended)} |")
    for half in suite.halves:
        others = [
            each for each in suite.of(half) if not any(suite.level(name, each) for name in suite.profiles)
        ]
        lines.append(f"| {half}, tests of no profile | {counted(others)} | |")
    left = [
        each for each in results.values() if each.outcome != "PASS" and suite.half(each.name) == each.half
    ]
    if left:
        lines += ["", "| test | outcome | what its log says first |", "|---|---|---|"]
        for each in left:
            said = " · ".join(dict.fromkeys(each.why[:3])).replace("|", "\\|")
            lines.append(f"| {each.name} | {each.outcome} | {said[:300]} |")
    return "\n".join(lines) + "\n"
