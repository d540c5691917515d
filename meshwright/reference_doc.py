"""docs/reference/: a page for each kind of document, made from the models that read them. `make reference` writes them.

The example of a kind is `EXAMPLE` of the module of its model; tests apply each to a mesh and render it.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml
from pydantic import JsonValue

from documents.envelope import API_VERSION, Kind
from documents.parsing import parse
from documents.schema import Field, fields, schema
from mesh.targeting import Level
from policies.document import ROUTES, TARGETING
from policies.kind import PolicyKind, Side
from policies.registry import KINDS, POLICIES

INDEX = "README.md"
MADE = "Made from the code by `make reference`."
SIDES = {
    Side.CALLER: "the sidecars of callers",
    Side.CALLEE: "the sidecars of the workloads that are called",
    Side.LISTENER: "the sidecars of targeted workloads, on calls to them and on their own",
}
LEVELS = {
    Level.MESH: "Mesh",
    Level.NAMESPACE: "Namespace",
    Level.SERVICE: "Service",
    Level.WORKLOAD: "Workload",
    Level.ROUTE: ", ".join(ROUTES),
}
TABLE = "| field | type | default | what it is |\n|---|---|---|---|\n"

HEAD = f"""\
# Documents

{MADE} What users write are YAML documents of `apiVersion`, `kind`, `metadata` and `spec`; see [documents](../documents.md) for how they
are read and what becomes of wrong ones. In the tables, `[]` stands for each element of a list. Durations are written like `250ms`, `5s` or
`1m30s` ([GEP-2257](https://gateway-api.sigs.k8s.io/geps/gep-2257/)).

"""
POLICY_HEAD = """\

## What all policies have in common

A policy concerns calls to its targets. Where several of one kind do, the nearer target wins, field by field: the mesh, a namespace, a
service, a workload, a route, and what the rule of a route says itself. Lists replace one another. Of two at the same target the older
wins, then the first by namespace and name. What the mesh or a namespace says with `enforced` is not overridden from below.

"""


def pages() -> dict[str, str]:
    """All pages, by file name."""
    kinds: dict[str, list[Kind]] = {}
    for kind in KINDS:
        kinds.setdefault(kind.name, []).append(kind)
    policies = {each.name: each for each in POLICIES}
    made = {
        f"{name}.md": "".join(_page(of_name, policies.get(name))) for name, of_name in sorted(kinds.items())
    }
    made[INDEX] = "".join(_index({name: each[0] for name, each in kinds.items()}, policies))
    return made


def example(kind: Kind) -> str:
    """A document of `kind` that is right and useful, maybe with others that it needs."""
    found = getattr(importlib.import_module(kind.model.__module__), "EXAMPLE", None)
    if not isinstance(found, str):
        raise TypeError(f"{kind.model.__module__} has no EXAMPLE of {kind.name}: add one, a YAML document")
    return found


def _index(kinds: Mapping[str, Kind], policies: Mapping[str, PolicyKind]) -> Iterator[str]:
    yield HEAD
    groups = {
        "Services and workloads": [n for n, k in kinds.items() if k.api_version == API_VERSION and n not in policies],
        "Routing: the Gateway API": [n for n, k in kinds.items() if k.api_version != API_VERSION],
        "Policies": sorted(policies),
    }  # fmt: skip
    for title, names in groups.items():
        yield f"## {title}\n\n| kind | what it is |\n|---|---|\n"
        yield from (f"| [{name}]({name}.md) | {_summary(kinds[name])} |\n" for name in names)
        yield "\n"
    first = next(iter(kinds.values()))
    yield "## `metadata`\n\n" + TABLE
    yield from _rows(each for each in fields(schema(first), "metadata") if each.description)
    yield POLICY_HEAD + TABLE
    policy = next(iter(policies.values())).as_document()
    yield from _rows(each for each in fields(schema(policy), "spec") if _common(each))


def _page(kinds: list[Kind], policy: PolicyKind | None) -> Iterator[str]:
    kind = kinds[0]
    yield f"# {kind.name}\n\n{inspect.cleandoc(kind.model.__doc__ or '')}\n\n"
    yield f"`apiVersion`: {', '.join(f'`{each.api_version}`' for each in kinds)}. "
    yield f"{MADE} [All kinds]({INDEX})\n"
    if policy is not None:
        yield "\n" + "".join(f"- {line}\n" for line in _about(policy))
    yield f"\n## Example\n\n```yaml\n{example(kind)}```\n\n## Fields of `spec`\n\n"
    if policy is not None:
        yield f"Besides `targetRefs`, `from` and `enforced`, which [all policies have]({INDEX}#what-all-policies-have-in-common).\n\n"
    yield TABLE
    yield from _rows(each for each in fields(schema(kind), "spec") if policy is None or not _common(each))


def _about(policy: PolicyKind) -> Iterator[str]:
    yield f"Enforced by {'; and by '.join(SIDES[side] for side in Side if side in policy.side)}."
    yield f"May target {', '.join(LEVELS[level] for level in Level if level in policy.levels and level in LEVELS)}."
    if any(each.startswith("spec.from") for each in _refused_for_some_callers(policy)):
        if policy.together is not None:
            yield "Callers are named in its rules: `from` is refused."
        elif not _refused_for_some_callers(policy, [{"kind": "HTTPRoute", "name": "api"}]):
            yield "Of routes it may be said for some callers; else it holds for all, and `from` is refused."
        else:
            yield "Holds for all callers: `from` is refused."
    if policy.union:
        yield "Several at one target all apply, each by itself."


def _refused_for_some_callers(policy: PolicyKind, targets: JsonValue = None) -> list[str]:
    """Where the example would be wrong if it named callers, and had `targets`."""
    documents = yaml.safe_load_all(example(policy.as_document()))
    document = next(each for each in documents if each["kind"] == policy.name)
    document["spec"]["from"] = [{"namespace": "default"}]
    document["spec"]["targetRefs"] = targets or document["spec"]["targetRefs"]
    errors = parse("example.yaml", json.dumps(document).encode(), KINDS).errors
    return [each.where.path for each in errors]


def _common(field: Field) -> bool:
    first = field.path.partition(".")[0].removesuffix("[]")
    return first in {"targetRefs", *(each.rstrip("_") for each in TARGETING)}


def _rows(given: Iterator[Field]) -> Iterator[str]:
    for each in given:
        default = "required" if each.required else _default(each.default)
        yield f"| `{each.path}` | {_cell(each.type)} | {default} | {_cell(each.description)} |\n"


def _default(value: JsonValue) -> str:
    if value is None or value == "" or (isinstance(value, dict | list) and not value):
        return ""
    if isinstance(value, dict):  # those of its own fields, which have rows of their own
        return ""
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _summary(kind: Kind) -> str:
    return " ".join(inspect.cleandoc(kind.model.__doc__ or "").partition("\n\n")[0].split())


def write(folder: Path) -> None:
    """Make `folder` hold the pages and no others."""
    made = pages()
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.md"):
        if old.name not in made:
            old.unlink()
    for name, text in made.items():
        (folder / name).write_text(text)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
