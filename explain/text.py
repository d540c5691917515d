"""An explanation as people read it: plain lines, no wider than they have to be."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from explain.answer import Branch, Ending, Explanation, Outcome, Step
from explain.wording import share

STAGE = 14
INDENT = "  "


def lines(explanation: Explanation) -> Iterator[str]:
    yield explanation.question
    yield from _branch(explanation.root, 0, "")
    yield ""
    yield "The client sees"
    outcomes = explanation.outcomes()
    for part, outcome in outcomes:
        yield from _outcome(part, outcome, only=len(outcomes) == 1)
    if explanation.differences:
        yield ""
        yield "The proxy differs from what the mesh says"
        yield from (f"{INDENT}- {each}" for each in explanation.differences)
    if explanation.cautions:
        yield ""
        yield "To be known"
        yield from (f"{INDENT}- {each}" for each in explanation.cautions)


def summary(outcome: Outcome) -> str:
    """In a few words."""
    match outcome.ending:
        case Ending.APPLICATION:
            who = ", ".join(outcome.workloads) or "the endpoint"
            return f"what the application of {who} answers" + (
                f" to {outcome.arrives}" if outcome.arrives else ""
            )
        case Ending.OUTSIDE:
            return "what answers outside the mesh" + (f" to {outcome.arrives}" if outcome.arrives else "")
        case Ending.CLOSED:
            return f"a closed connection: {outcome.why}"
        case Ending.ANSWERED:
            grpc = f" with gRPC status {outcome.grpc}" if outcome.grpc else ""
            where = f", Location: {outcome.location}" if outcome.location else ""
            return f"{outcome.status}{grpc}{where}: {outcome.why}"


def _branch(branch: Branch, depth: int, proxy: str) -> Iterator[str]:
    indent = INDENT * (2 * depth)
    for step in branch.steps:
        if step.proxy and step.proxy != proxy:
            proxy = step.proxy
            yield ""
            yield f"{indent}{proxy}"
        yield from _step(step, f"{indent}{INDENT}")
    for each in branch.branches:
        yield ""
        yield f"{indent}{INDENT}── {each.label or share(each.share)}"
        if each.outcome is not None and not each.steps:
            continue
        yield from _branch(each, depth + 1, proxy)


def _step(step: Step, indent: str) -> Iterator[str]:
    yield f"{indent}{step.stage:<{STAGE}}{step.said}".rstrip()
    inner = indent + " " * STAGE
    for each in step.details:
        yield f"{inner}- {each}"
    told = " ".join(step.details)
    for source in step.sources:
        if str(source) not in told:  # else it is said already, beside what it decides
            yield f"{inner}by {source}"


def _outcome(part: Fraction, outcome: Outcome, *, only: bool) -> Iterator[str]:
    amount = "" if only else f"{share(part)}: "
    yield f"{INDENT}{amount}{summary(outcome)}"
    if outcome.clusters:
        yield f"{INDENT}{INDENT}by {' and then '.join(outcome.clusters)}"
    if outcome.remedy:
        yield f"{INDENT}{INDENT}Way out: {outcome.remedy}"
