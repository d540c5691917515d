"""Who is meant by a name."""

from __future__ import annotations

from explain.question import Unaskable
from mesh.names import Key
from mesh.state import MeshState
from mesh.workload import Workload


def caller_of(state: MeshState, name: str) -> Workload:
    """The workload of that name; of a service, the first that serves it, one with a sidecar if there is any. Raises Unaskable."""
    key = Key.parse(name)
    found = state.workloads.get(key)
    if found is not None:
        return found
    members = [state.workloads[each] for each in state.members.get(key, ())]
    if members:
        return next((each for each in members if each.meshed), members[0])
    accounts = (
        each
        for _, each in sorted(state.workloads.items())
        if each.key.namespace == key.namespace and each.service_account == key.name
    )
    by_account = next(accounts, None)
    if by_account is not None:
        return by_account
    raise Unaskable(
        f"there is no workload {key}, and no service of that name that one serves: "
        "`meshwright workloads` lists those there are"
    )
