"""Staged rollouts: how far they are, and what an operator says to them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, get_args

from api.errors import Conflicting, Forbidden, NotFound
from api.roles import Caller, Role
from api.rolling import Command, NoSuchRollout, RolloutIsOver
from api.routing import Answer, Call, Content, NoQuery, Route
from api.shapes.rollouts import Rollout, RolloutCommand, RolloutList

MEANS: Final[dict[Command, str]] = {
    "promote": "Let a rollout go on to its next stage at once, whatever was seen",
    "abort": "Withdraw a rollout: all proxies go back to what was before",
    "pause": "Let a rollout stay in its stage; it still goes back by itself",
    "resume": "Let a paused rollout go on; the time of its stage begins anew",
}


async def list_rollouts(call: Call[NoQuery, None]) -> RolloutList:
    return RolloutList(
        items=tuple(
            _seen_by(call.caller, each)
            for each in call.backend.rollouts.all()
            if _may_view(call.caller, each)
        )
    )


async def get_rollout(call: Call[NoQuery, None]) -> Rollout:
    try:
        found = call.backend.rollouts.one(call.path["rollout"])
    except NoSuchRollout as error:
        raise NotFound(str(error)) from error
    if not _may_view(call.caller, found):
        raise Forbidden(
            f"{call.caller.name} is not viewer in each namespace that rollout {found.id} has documents of"
        )
    return _seen_by(call.caller, found)


def _may_view(caller: Caller, rollout: Rollout) -> bool:
    """Whether each of its documents, `<kind> <namespace>/<name>`, is of a namespace that `caller` may view."""
    return all(caller.may(Role.VIEWER, _namespace(each.rpartition(" ")[2])) for each in rollout.documents)


def _seen_by(caller: Caller, rollout: Rollout) -> Rollout:
    """Proxies are named to those who may view their namespaces."""
    missing = tuple(each for each in rollout.missing if caller.may(Role.VIEWER, _namespace(each)))
    return rollout.model_copy(update={"missing": missing})


def _namespace(name: str) -> str:
    return name.partition("/")[0]


def _commanding(command: Command) -> Callable[[Call[NoQuery, RolloutCommand]], Awaitable[Rollout]]:
    async def handle(call: Call[NoQuery, RolloutCommand]) -> Rollout:
        try:
            return await call.backend.rollouts.command(
                call.path["rollout"], command, call.caller.name, call.body.reason
            )
        except NoSuchRollout as error:
            raise NotFound(str(error)) from error
        except RolloutIsOver as error:
            raise Conflicting(str(error)) from error

    return handle


ROUTES: Final = (
    Route(
        "GET",
        "/rollouts",
        "listRollouts",
        "Staged rollouts, the newest first",
        list_rollouts,
        {200: Answer(RolloutList, "Those that are on, and the last ones that were.")},
        tag="Changes",
    ),
    Route(
        "GET",
        "/rollouts/{rollout}",
        "getRollout",
        "One rollout",
        get_rollout,
        {200: Answer(Rollout, "How far it is, and how it does.")},
        tag="Changes",
        problems=(404,),
    ),
    *(
        Route(
            "POST",
            f"/rollouts/{{rollout}}/{command}",
            f"{command}Rollout",
            MEANS[command],
            _commanding(command),
            {200: Answer(Rollout, "How it is now.")},
            tag="Changes",
            content=Content(RolloutCommand),
            problems=(404, 409, 413, 415, 422),
            writes=True,
        )
        for command in get_args(Command)
    ),
)
