"""From a question to its explanation."""

from __future__ import annotations

from dataclasses import replace

from explain.answer import Explanation
from explain.difference import Watched, differences, otherwise, without_wrong_sources
from explain.from_outside import from_outside
from explain.from_workload import from_workload
from explain.question import Question
from explain.resources import Table
from explain.walk import Walk
from explain.world import World
from mesh.workload import Workload


def explain(world: World, question: Question) -> Explanation:
    """What becomes of the request of `question`. Raises Unaskable."""
    walk = Walk(world)
    if question.gateway is not None:
        shown, root = from_outside(world, walk, question, question.gateway)
    else:
        shown, root = from_workload(world, walk, question)
    cautions = (*walk.cautions, *(f"not in force: {each}" for each in world.problems()))
    return Explanation(shown, root, cautions)


NO_ENDPOINTS = "the dump says nothing of endpoints, so those that the mesh knows are taken: ask for /config_dump?include_eds"


def explain_live(world: World, question: Question, proxy: Workload, resources: Table) -> Explanation:
    """As `explain`, where `proxy` has `resources`, whatever the mesh says; and where the two differ."""
    model = world.rendering(proxy)
    watched = Watched(resources, resources if resources.has_endpoints else model)
    live = replace(world, given={**world.given, proxy.key: watched})
    found = explain(live, question)
    of_model = explain(world, question)
    lines = (*differences(watched, model), *otherwise(found, of_model))
    if lines:
        root = without_wrong_sources(found.root, of_model.root, str(proxy.key))
        found = replace(found, root=root)
    cautions = found.cautions if resources.has_endpoints else (*found.cautions, NO_ENDPOINTS)
    return replace(found, differences=lines, cautions=cautions)
