"""What a client asks of a Kubernetes API server, by the server's own counters (its /metrics): the difference between two looks at them. Pure.

https://kubernetes.io/docs/reference/instrumentation/metrics/ has what each metric means. They do not say who asked, but for the flow schema
of API Priority and Fairness: the client has a service account of its own, whose requests are counted with nobody else's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

FLOW: Final = "service-accounts"
"""Of service accounts outside kube-system: in a cluster of the bench's own, the one account that Meshwright has."""
PASSING: Final = frozenset({"leases.coordination.k8s.io", "configmaps", "serviceaccounts", "events"})
"""What the cluster's own controllers list all the time, and Meshwright does not in these rows."""

By = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Counters:
    """At one moment. `dispatched`: requests of the client, of all verbs, watches when they begin. All else is of every client of the
    server, by resource: `lists` that were answered and their bytes as sent, `events` that watches were sent and their bytes.
    """

    dispatched: float
    lists: By
    list_bytes: By
    events: By
    event_bytes: By


@dataclass(frozen=True, slots=True)
class Load:
    """Between two moments. `requests` are the client's, exactly; `lists` and their bytes are the client's but for one or two of the
    cluster's own controllers, which have theirs already. `event_bytes`: of one event to one watcher, on average.
    """

    requests: int
    lists: Mapping[str, int]
    list_bytes: Mapping[str, int]
    event_bytes: Mapping[str, int]


def parse(text: str) -> Counters:
    """The server's /metrics."""
    dispatched = 0.0
    lists, list_bytes, events, event_bytes = (defaultdict[str, float](float) for _ in range(4))
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = sample.labels
            resource = ".".join(filter(None, (labels.get("resource"), labels.get("group"))))
            match sample.name:
                case "apiserver_flowcontrol_dispatched_requests_total" if labels["flow_schema"] == FLOW:
                    dispatched += sample.value
                case "apiserver_request_total" if labels["verb"] == "LIST":
                    lists[resource] += sample.value
                case "apiserver_response_sizes_sum" if labels["verb"] == "LIST":
                    list_bytes[resource] += sample.value
                case "apiserver_watch_events_sizes_count":
                    events[resource] += sample.value
                case "apiserver_watch_events_sizes_sum":
                    event_bytes[resource] += sample.value
                case _:
                    pass
    return Counters(dispatched, lists, list_bytes, events, event_bytes)


def between(before: Counters, after: Counters) -> Load:
    """What has not moved is left out."""
    events = _moved(before.events, after.events)
    sizes = _moved(before.event_bytes, after.event_bytes)
    return Load(
        requests=round(after.dispatched - before.dispatched),
        lists=_moved(before.lists, after.lists),
        list_bytes=_moved(before.list_bytes, after.list_bytes),
        event_bytes={name: round(sizes.get(name, 0) / count) for name, count in events.items()},
    )


def _moved(old: By, new: By) -> dict[str, int]:
    found = {name: round(value - old.get(name, 0.0)) for name, value in sorted(new.items())}
    return {name: value for name, value in found.items() if value > 0 and name not in PASSING}
