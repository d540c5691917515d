"""What proxies log of calls, as it is remembered; and whom access policies would lock out by it."""

from __future__ import annotations

from mesh.events import SourceSnapshot
from mesh.names import Key
from mesh.state import MeshState
from meshwright.calls_seen import LATELY, CallsSeen, SeenCall
from meshwright.calls_seen import Lately as Seen
from meshwright.plan.caveats import Sort
from meshwright.plan.locked_out import locked_out
from pb.envoy.config.core.v3.base_pb2 import RequestMethod
from pb.envoy.data.accesslog.v3.accesslog_pb2 import HTTPAccessLogEntry, TCPAccessLogEntry
from tests.support.builders import a_service, a_snapshot, a_state, a_workload
from tests.support.policy_documents import declared

API, API_1 = Key("default", "api"), Key("default", "api-1")
WEB = "spiffe://mesh.test/ns/default/sa/web"
OTHER = "spiffe://mesh.test/ns/default/sa/other"


def a_mesh(*policies: str) -> MeshState:
    snapshot = a_snapshot(
        a_service("api"),
        a_service("web"),
        a_workload("api-1", meshed=True, sidecar=15101),
        a_workload("web-1", meshed=True),
    )
    documents = tuple(each for text in policies for each in declared(text))
    state, _ = a_state().apply(
        SourceSnapshot(snapshot.source, snapshot.services, snapshot.workloads, documents)
    )
    return state


def an_entry(
    identity: str = WEB, path: str = "/orders/7?x=1", sni: str = "80.api.default.mesh.test"
) -> HTTPAccessLogEntry:
    made = HTTPAccessLogEntry()
    common = made.common_properties
    common.tls_properties.tls_sni_hostname = sni
    if identity:
        common.tls_properties.peer_certificate_properties.subject_alt_name.add(uri=identity)
    common.downstream_direct_remote_address.socket_address.address = "10.0.0.9"
    common.downstream_local_address.socket_address.port_value = 15101
    made.request.request_method = RequestMethod.GET
    made.request.path, made.request.authority = path, "api"
    return made


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_call_is_remembered_by_caller_method_and_path() -> None:
    seen = CallsSeen(a_mesh, Clock())
    seen.take(API_1, [an_entry(), an_entry(path="/orders/7?x=2")])
    assert seen.lately() == Seen((SeenCall(API, 80, API_1, WEB, "10.0.0.9", "GET", "/orders/7", "api"),), 1)


def test_a_connection_has_no_method_and_who_has_no_name_is_told_by_the_port() -> None:
    seen, entry = CallsSeen(a_mesh, Clock()), TCPAccessLogEntry()
    entry.common_properties.downstream_local_address.socket_address.port_value = 15101
    entry.common_properties.downstream_direct_remote_address.socket_address.address = "10.0.0.8"
    seen.take(API_1, [entry])
    assert seen.lately().calls == (SeenCall(API, 80, API_1, "", "10.0.0.8"),)


def test_what_is_for_no_service_is_not_remembered() -> None:
    seen, entry = CallsSeen(a_mesh, Clock()), an_entry(sni="80.nobody.default.mesh.test")
    entry.common_properties.downstream_local_address.socket_address.port_value = 1
    seen.take(API_1, [entry])
    seen.take(Key("default", "unknown"), [entry])
    assert seen.lately().calls == ()


def test_an_hour_and_so_many() -> None:
    clock = Clock()
    seen = CallsSeen(a_mesh, clock, most=3)
    seen.take(API_1, [an_entry(path=f"/{number}") for number in range(5)])
    assert [each.path for each in seen.lately().calls] == ["/2", "/3", "/4"]
    clock.now = LATELY / 2
    seen.take(API_1, [an_entry(path="/2")])
    clock.now = LATELY + 1
    assert [each.path for each in seen.lately().calls] == ["/2"]
    clock.now = 2 * LATELY + 1
    assert seen.lately() == Seen((), 0)


def test_only_what_is_called_is_looked_at_and_everybody_is_told() -> None:
    seen, told = CallsSeen(a_mesh, Clock()), list[int]()
    listeners = seen.beside(
        {
            name: lambda _, entries: told.append(len(entries))
            for name in ("meshwright.served", "meshwright.calls")
        }
    )
    for take in listeners.values():
        take(API_1, [an_entry()])
    assert told == [1, 1]
    assert len(seen.lately().calls) == 1


ONLY_WEB = """\
apiVersion: meshwright.dev/v1alpha1
kind: AccessPolicy
metadata: {name: api}
spec:
  targetRefs: [{kind: Service, name: api}]
  action: allow
  rules: [{from: [{service: web}], to: [{methods: [GET]}]}]
"""


def a_call(identity: str, method: str = "GET") -> SeenCall:
    return SeenCall(API, 80, API_1, identity, "10.0.0.9", method, "/orders", "api")


def test_whom_a_policy_locks_out_is_told() -> None:
    calls = (a_call(WEB), a_call(WEB, "POST"), a_call(OTHER), a_call(""))
    told = list(locked_out(a_mesh(), a_mesh(ONLY_WEB), Seen(calls, 1)))
    assert [each.sort for each in told] == [Sort.LOCKED_OUT, Sort.INCOMPLETE]
    assert told[0].document == "AccessPolicy default/api"
    assert told[0].text == (
        "calls of the last hour to service default/api, port 80, are refused: "
        f"{WEB} POST /orders, {OTHER} GET /orders, 10.0.0.9 in plaintext GET /orders"
    )


def test_who_is_refused_already_is_not_locked_out() -> None:
    denied = ONLY_WEB.replace("name: api}\nspec", "name: other}\nspec").replace("allow", "deny")
    assert [
        each.sort
        for each in locked_out(
            a_mesh(denied), a_mesh(denied.replace("[GET]", "[GET, HEAD]")), Seen((a_call(WEB),), 1)
        )
    ] == [Sort.INCOMPLETE]


def test_where_no_access_policy_differs_nothing_is_told() -> None:
    assert list(locked_out(a_mesh(ONLY_WEB), a_mesh(ONLY_WEB), Seen((a_call(OTHER),), 1))) == []
