"""What a document is about, in a few words, for a row of a table. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any


def about(document: Mapping[str, Any]) -> str:
    """Whom it is for and what it names: `→ Service api` for a route or a policy, the ports of a service."""
    spec = document.get("spec")
    if not isinstance(spec, dict):
        return ""
    match document.get("kind"):
        case "Service" | "ExternalService":
            return " ".join(
                f"{each.get('port')}/{each.get('protocol', 'tcp')}" for each in _dicts(spec, "ports")
            )
        case "Workload":
            return f"{', '.join(map(str, spec.get('services') or ()))} at {spec.get('address')}"
        case "ServiceSubset":
            labels = ",".join(f"{key}={value}" for key, value in (spec.get("labels") or {}).items())
            return f"{spec.get('service')} with {labels}"
        case "Gateway":
            return " ".join(
                f"{each.get('port')}/{each.get('protocol')}" for each in _dicts(spec, "listeners")
            )
    refs = [*_dicts(spec, "parentRefs"), *_dicts(spec, "targetRefs")]
    at = ", ".join(f"{each.get('kind', 'Gateway')} {each.get('name', '')}".strip() for each in refs)
    callers = ", ".join(
        " ".join(f"{key} {value}" for key, value in each.items()) for each in _dicts(spec, "from")
    )
    hosts = " ".join(map(str, spec.get("hostnames") or ()))
    return " ".join(
        part for part in (hosts, f"→ {at}" if at else "", f"from {callers}" if callers else "") if part
    )


def state(document: Mapping[str, Any]) -> str:
    """`ok`; else the reasons of what does not hold, or that a note says it has no effect."""
    status = document.get("status")
    if not isinstance(status, dict):
        return "ok"
    wrong = [str(each.get("reason", "")) for each in unmet(status)]
    flags = {
        "Quarantined": status.get("quarantined"),
        "Errors": status.get("errors"),
        "RollingOut": status.get("rollout"),
        # Of an older value of it, where one of those says so.
        "NotInForce": status.get("inForce") is False,
        "noted": status.get("notes"),
    }
    wrong = [*(flag for flag, holds in flags.items() if holds and flag != "noted"), *wrong]
    if not wrong and flags["noted"]:
        wrong = ["noted"]
    return ",".join(dict.fromkeys(each for each in wrong if each)) or "ok"


def unmet(status: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    """Conditions that do not hold; of a conflict, that it is there. Also those of parents (routes) and listeners."""
    groups = [status, *_dicts(status, "parents"), *_dicts(status, "ancestors"), *_dicts(status, "listeners")]
    for group in groups:
        for each in _dicts(group, "conditions"):
            holds = each.get("status") in {True, "True"}
            if holds is (each.get("type") == "Conflicted"):
                yield each


def said_of(status: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the mesh says of a document that is not as its author wishes: sentences, with a style each."""
    found = [(f"quarantined: {each}", "red") for each in status.get("quarantined") or ()]
    found += [(f"refused: {each}", "red") for each in status.get("errors") or ()]
    if status.get("inForce") is False:
        found.append(("not in force", "red"))
    if rollout := status.get("rollout"):
        found.append((f"on its way by rollout {rollout}: `meshwright rollout status {rollout}`", "yellow"))
    found += [
        (f"{each.get('type')}: {each.get('reason')}: {each.get('message')}", "yellow")
        for each in unmet(status)
    ]
    return [*found, *((f"note: {each}", "yellow") for each in status.get("notes") or ())]


def created(document: Mapping[str, Any]) -> datetime | None:
    said = (document.get("metadata") or {}).get("creationTimestamp")
    try:
        return datetime.fromisoformat(str(said)) if said else None
    except ValueError:
        return None


def kept_in(document: Mapping[str, Any]) -> str:
    """`store`, or the file that has it."""
    status = document.get("status")
    file = status.get("file") if isinstance(status, dict) else None
    return str(file or "store")


def _dicts(holder: Mapping[str, Any], field: str) -> list[Mapping[str, Any]]:
    found = holder.get(field)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
