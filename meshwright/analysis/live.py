"""Checks of a running control plane and its proxies: what they acknowledge, what they refuse, and what ends soon."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final

from api.shapes.status import ProxyStatus, Status
from mesh.names import Key
from meshwright.analysis.examples import NOW, PROXY, SOURCE, STATUS, TYPE
from meshwright.analysis.finding import Check, Example, Found, Severity
from meshwright.analysis.sight import Sight

SOON: Final = {"root": timedelta(days=90), "intermediate": timedelta(days=30), "gateway": timedelta(days=14)}
"""How long before its end a certificate is spoken of; of others, an hour."""
LARGE: Final = 50 << 20
"""Bytes of an Envoy's memory for clusters, about."""
OLDEST: Final = (1, 36)
"""The oldest Envoy that we are tested with."""


def _proxies(sight: Sight) -> tuple[ProxyStatus, ...]:
    return sight.live.status.proxies if sight.live is not None else ()


def _workload(proxy: ProxyStatus) -> str:
    """Of `default/api-1 (plaintext)`, its workload."""
    return proxy.proxy.partition(" (")[0]


def refused(sight: Sight) -> Iterator[Found]:
    for proxy in _proxies(sight):
        for each in proxy.types:
            if each.refused is not None:
                message = " ".join(each.refused.message.split())[:300]
                yield Found(
                    f"proxy {proxy.proxy}",
                    f"it refused {each.type} {', '.join(each.refused.names[:3])}: {message}",
                    each.refused.origin,
                )


def late(sight: Sight) -> Iterator[Found]:
    for proxy in _proxies(sight):
        kinds = [each.type for each in proxy.types if each.late]
        if kinds:
            yield Found(f"proxy {proxy.proxy}", f"it was sent {', '.join(kinds)} and does not answer")


def waits(sight: Sight) -> Iterator[Found]:
    for proxy in _proxies(sight):
        if proxy.state == "waiting":
            yield Found(f"proxy {proxy.proxy}", proxy.note or "it waits for its first configuration")


def without_proxy(sight: Sight) -> Iterator[Found]:
    if sight.live is None or sight.live.replicas > 1:
        return  # It may be connected to another replica: nobody here can know.
    here = {_workload(each) for each in _proxies(sight)}
    for workload in sight.workloads():
        if workload.meshed and str(workload.key) not in here:
            yield Found(
                f"Workload {workload.key}",
                "it is declared meshed and no proxy of it is connected",
                workload.origin,
            )


def twice(sight: Sight) -> Iterator[Found]:
    for name, count in sorted(Counter(each.proxy for each in _proxies(sight)).items()):
        if count > 1:
            yield Found(
                f"proxy {name}",
                f"{count} streams are open for this workload: are several proxies running as it?",
            )


def unmeshed(sight: Sight) -> Iterator[Found]:
    for proxy in _proxies(sight):
        workload = sight.state.workloads.get(Key.parse(_workload(proxy)))
        if workload is not None and not workload.meshed:
            yield Found(
                f"proxy {proxy.proxy}",
                "its workload is not declared meshed: callers do not use this sidecar",
                workload.origin,
            )


def old_envoy(sight: Sight) -> Iterator[Found]:
    for proxy in _proxies(sight):
        version = _version(proxy.agent)
        if version is not None and version < OLDEST:
            yield Found(
                f"proxy {proxy.proxy}",
                f"it is {proxy.agent}; the oldest that is tested is {OLDEST[0]}.{OLDEST[1]}",
            )


def mixed_envoys(sight: Sight) -> Iterator[Found]:
    versions = Counter(version for proxy in _proxies(sight) if (version := _version(proxy.agent)) is not None)
    if len(versions) > 1:
        said = ", ".join(f"{count} of {major}.{minor}" for (major, minor), count in sorted(versions.items()))
        yield Found("proxies", f"several versions of Envoy run: {said}")


def _version(agent: str) -> tuple[int, int] | None:
    for word in agent.split():
        parts = word.split(".")
        if len(parts) >= 2 and parts[0].isdecimal() and parts[1].isdecimal():
            return int(parts[0]), int(parts[1])
    return None


def source_away(sight: Sight) -> Iterator[Found]:
    for source in sight.live.status.sources if sight.live is not None else ():
        if source.state in {"failed", "restored"}:
            yield Found(
                f"source {source.source}",
                f"it is {source.state} for {source.since:.0f} s: {source.error or 'what it said last is in force'}",
            )


def source_refuses(sight: Sight) -> Iterator[Found]:
    for source in sight.live.status.sources if sight.live is not None else ():
        for error in source.errors[:20]:
            yield Found(f"source {source.source}", error)


def held(sight: Sight) -> Iterator[Found]:
    for hold in sight.live.status.holds if sight.live is not None else ():
        yield Found(
            f"Service {hold.service}",
            f"{hold.endpoints} endpoints are held, {hold.reason}: it ends in {hold.ends_in:.0f} s",
        )


def expiring(sight: Sight) -> Iterator[Found]:
    if sight.live is None:
        return
    for name, when in sorted(sight.live.status.certificates.items()):
        left = datetime.fromisoformat(when) - sight.live.now
        if left < SOON.get(name, timedelta(hours=1)):
            said = (
                f"ends in {left.days} days"
                if left >= timedelta(days=2)
                else f"ends in {left.total_seconds() / 3600:.1f} hours"
            )
            yield Found(f"certificate {name}", said if left > timedelta(0) else "has ended")


def left_out(sight: Sight) -> Iterator[Found]:
    status = sight.live.status if sight.live is not None else None
    for subject, why in sorted(status.problems.items()) if status is not None else ():
        if status is not None and not _is_quarantined(status, subject):
            yield Found(subject, " ".join(why.split()))


def _is_quarantined(status: Status, subject: str) -> bool:
    """A document; of a proxy that refuses too much, nothing is set aside."""
    return subject in status.quarantined and not subject.startswith("proxy ")


def not_ready(sight: Sight) -> Iterator[Found]:
    if sight.live is not None and not sight.live.status.ready:
        yield Found("control plane", "proxies are not answered yet: not every source has spoken")


def unacknowledged(sight: Sight) -> Iterator[Found]:
    newest = sight.live.newest if sight.live is not None else None
    if newest is not None and newest.behind:
        names = ", ".join(each.proxy for each in newest.behind[:5])
        yield Found(
            "proxies", f"{len(newest.behind)} have not acknowledged revision {newest.revision}: {names}"
        )


def quarantined(sight: Sight) -> Iterator[Found]:
    status = sight.live.status if sight.live is not None else None
    for subject, why in sorted(status.problems.items()) if status is not None else ():
        if status is not None and _is_quarantined(status, subject):
            yield Found(subject, " ".join(why.split()))


def could_be_strict(sight: Sight) -> Iterator[Found]:
    if sight.live is None or sight.live.replicas > 1:
        return  # Who called a sidecar of another replica is not known here.
    report = sight.live.plaintext
    for port in report.ports if report is not None else ():
        if (
            port.last is None
            and port.connected == port.sidecars
            and report is not None
            and report.watched_for > 3600
        ):
            yield Found(
                f"Service {port.service}",
                f"port {port.port} takes plaintext, and nobody has spoken it for {report.watched_for / 3600:.0f} hours",
            )


def large(sight: Sight) -> Iterator[Found]:
    for proxy in _proxies(sight):
        if proxy.sees is not None and proxy.sees.memory > LARGE:
            yield Found(
                f"proxy {proxy.proxy}",
                f"it sees {proxy.sees.services} services, which takes some {proxy.sees.memory >> 20} MiB of its memory",
            )


def _with(**proxy: Any) -> Example:
    """One proxy is so, the others as ever."""
    others = [dict(each) for each in STATUS["proxies"] if each["proxy"] != PROXY["proxy"]]
    return Example(live={"proxies": [{**PROXY, **proxy}, *others]})


def _type(**said: Any) -> Example:
    return _with(types=[{**TYPE, **said}])


FINE: Final = Example(live={"ready": True})
REFUSAL: Final = {
    "names": ["inbound/15101"],
    "message": "cannot bind '10.0.2.1:15101'",
    "version": "1",
    "age": 3.0,
    "origin": [],
}
SEES: Final = {"services": 3, "ofServices": 3, "size": 1, "ofSize": 1, "memory": 1, "ofMemory": 1}
HOLD: Final = {
    "service": "default/api",
    "source": "consul",
    "endpoints": 2,
    "reason": "all of them went at once",
    "heldFor": 1.0,
    "endsIn": 599.0,
}
BAD: Final = "EnvoyPatch default/bad at envoy 1.40"
NEWEST: Final = {"revision": 7, "state": "acknowledged", "proxies": 6, "behind": [], "refused": []}
BEHIND: Final = {
    "proxy": "default/api-1",
    "replica": "",
    "peer": "10.0.2.1:4711",
    "pending": {"Cluster": ["default/store:80"]},
    "why": "it was sent a response and does not answer",
}
REPORT: Final = {
    "watchedFor": 90000.0,
    "crowdedOut": 0,
    "ports": [
        {
            "service": "default/api",
            "port": 80,
            "modes": ["permissive"],
            "sidecars": 2,
            "connected": 2,
            "last": None,
        }
    ],
    "calls": [],
}

CHECKS: Final = (
    Check(
        "MW0501",
        "A proxy refuses resources",
        Severity.ERROR,
        "It goes on with what it had, so it does not do what the documents say.",
        "Correct the document that the message leads to; if its address is in use, end what listens there.",
        refused,
        _type(refused=REFUSAL, inSync=False),
        FINE,
    ),
    Check(
        "MW0502",
        "A proxy does not answer",
        Severity.ERROR,
        "Nobody knows what it has: it hangs, or the network drops what it sends.",
        "Look at the proxy and its log; restart it.",
        late,
        _type(late=True, inSync=False),
        FINE,
    ),
    Check(
        "MW0503",
        "A proxy waits for its configuration",
        Severity.ERROR,
        "No source declares its workload, so there is nothing to give it.",
        "Register the workload under that name, or start the proxy under the registered one.",
        waits,
        _with(
            state="waiting",
            note="it waits: no source declares the workload default/api-l (did you mean default/api-1?)",
        ),
        FINE,
    ),
    Check(
        "MW0504",
        "A workload without its proxy",
        Severity.ERROR,
        "Callers speak mesh TLS to it, and nobody is there who could. Where there are several control planes, none of which knows whose proxies are "
        "connected to the others, it is not looked for.",
        "Start `meshwright proxy` beside it, or take `meshed` out.",
        without_proxy,
        Example(live={"proxies": [each for each in STATUS["proxies"] if each["proxy"] != "default/api-1"]}),
        FINE,
    ),
    Check(
        "MW0505",
        "Two proxies as one workload",
        Severity.WARNING,
        "Both are given the workload's identity and listeners; on one host the second cannot listen.",
        "End one of them, or give each its own workload.",
        twice,
        Example(live={"proxies": [*STATUS["proxies"], PROXY]}),
        FINE,
    ),
    Check(
        "MW0506",
        "A proxy beside a workload that is not meshed",
        Severity.WARNING,
        "Callers go past the sidecar, so nothing is enforced.",
        "Declare the workload `meshed`.",
        unmeshed,
        Example(
            "kind: Workload\nmetadata: {name: api-1}\nspec: {services: [api], serviceAccount: api, address: 10.0.2.1, ports: [{name: http, app: 8080}]}\n",
            live={"ready": True},
        ),
        FINE,
    ),
    Check(
        "MW0507",
        "An Envoy that is too old",
        Severity.WARNING,
        "It passes over fields that it does not know, so that policies may be without effect there.",
        "`meshwright envoy install` has the version that is tested.",
        old_envoy,
        _with(agent="envoy 1.30.2"),
        FINE,
    ),
    Check(
        "MW0508",
        "Several versions of Envoy",
        Severity.INFO,
        "What one takes, another may refuse.",
        "Finish the upgrade.",
        mixed_envoys,
        _with(agent="envoy 1.39.0"),
        FINE,
    ),
    Check(
        "MW0509",
        "A source is away",
        Severity.ERROR,
        "What it said last stays in force; what changes there is not seen.",
        "See to the registry, its address and its token.",
        source_away,
        Example(live={"sources": [{**SOURCE, "state": "failed", "error": "connection refused"}]}),
        FINE,
    ),
    Check(
        "MW0510",
        "A source has something that is refused",
        Severity.WARNING,
        "The document or instance keeps its last good value, or is left out.",
        "Correct it: the message says where and how.",
        source_refuses,
        Example(live={"sources": [{**SOURCE, "errors": ["api.yaml:3: unknown field"]}]}),
        FINE,
    ),
    Check(
        "MW0511",
        "Endpoints are held",
        Severity.WARNING,
        "A registry said something hard to believe, so the endpoints that it took away are kept for a while.",
        "If they are gone indeed: `meshwright hold release`.",
        held,
        Example(live={"holds": [HOLD]}),
        FINE,
    ),
    Check(
        "MW0512",
        "A certificate ends soon",
        Severity.WARNING,
        "Without it nobody can connect.",
        "Root and intermediate: `meshwright ca rotate`. Gateways: renew the files of the Secret. Others renew themselves: if they do not, the log says why.",
        expiring,
        Example(live={"certificates": {"root": (NOW + timedelta(days=20)).isoformat()}}),
        Example(live={"certificates": {"root": (NOW + timedelta(days=900)).isoformat()}}),
    ),
    Check(
        "MW0513",
        "Something cannot be rendered, or is left out",
        Severity.ERROR,
        "Envoy would refuse it, so the last good resources stay in force, or the policy is left out at that place.",
        "Correct the document that is named.",
        left_out,
        Example(live={"problems": {"default/api": "EnvoyPatch default/x does not fit"}}),
        FINE,
    ),
    Check(
        "MW0514",
        "The control plane is not ready",
        Severity.ERROR,
        "Proxies that start now wait.",
        "`meshwright status` says which source has not spoken.",
        not_ready,
        Example(live={"ready": False}),
        FINE,
    ),
    Check(
        "MW0515",
        "The newest revision is not everywhere",
        Severity.WARNING,
        "Some proxies still do what the documents said before.",
        "`meshwright wait` names them, with the reason.",
        unacknowledged,
        Example(live={"newest": {**NEWEST, "state": "waiting", "behind": [BEHIND]}}),
        Example(live={"newest": NEWEST}),
    ),
    Check(
        "MW0516",
        "A document is quarantined",
        Severity.ERROR,
        "What it says now is not in force, for Envoy refuses what it makes.",
        "Correct it; `meshwright quarantine list` has Envoy's words.",
        quarantined,
        Example(live={"problems": {BAD: "Envoy refuses Listener outbound"}, "quarantined": [BAD]}),
        FINE,
    ),
    Check(
        "MW0517",
        "A port could be strict",
        Severity.INFO,
        "It takes plaintext, and nobody speaks it. One of several control planes cannot know, and does not say so.",
        "Set the mode of its MeshTLS to strict.",
        could_be_strict,
        Example(live={"plaintext": REPORT}),
        Example(live={"plaintext": {**REPORT, "ports": []}}),
    ),
    Check(
        "MW0518",
        "A proxy sees far more than it needs",
        Severity.INFO,
        "Each service that a sidecar sees costs memory, and a push whenever it changes.",
        "Say what the workload `uses`, or take `clusters: onDemand`.",
        large,
        _with(
            sees={**SEES, "services": 5000, "ofServices": 5000, "memory": 300 << 20, "ofMemory": 300 << 20}
        ),
        _with(sees=SEES),
    ),
)
