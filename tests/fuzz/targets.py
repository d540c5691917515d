"""The targets: each takes any bytes, and raises nothing but what its callers expect.

A new parser of bytes from outside gets a target here.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import jwt
from google.protobuf.message import DecodeError

from ca.authority import LeafRequest, TrustBundle
from ca.builtin import BuiltinAuthority
from ca.csr import check_csr, make_csr
from ca.errors import CaError, CsrRefused, NotProved, ProvedAnother, UnusableBundle, UnusablePeer
from ca.federation import parse_file, spiffe_document
from ca.jwks import _parsed
from ca.keys import new_key
from ca.peer import parse_node_id, proved
from ca.proof_jwt import Issuer, JwtProof, Subjects
from ca.secrets import roots_secret
from ca.tokens import TokenStore
from ca.web import NoAnswer
from documents.parsing import parse
from envoy.render import Renderer
from inject.options import InjectOptions
from mesh.errors import InvalidName
from mesh.events import SourceSnapshot
from mesh.identity import Identity
from mesh.names import Key
from meshwright.kubernetes.admission import KIND, VERSION, request_of
from meshwright.kubernetes.mutating import mutated
from pb.envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DiscoveryRequest
from policies.registry import KINDS
from store.codec import digest, encode_stored
from store.errors import BadStream
from store.manifest import Node, encode_node
from store.portable import _Reader
from store.stored import Stored
from tests.support.envoy_static import rendered
from tests.support.example_world import sidecars, state
from tests.support.forging import public_jwk
from tests.support.xds_talk import SCOPE, several
from xds.cache import ResourceCache, ScopeChange
from xds.delta import DeltaSession
from xds.errors import ProtocolViolation
from xds.sotw import SotwSession
from xds.types import CLUSTER, ENDPOINT, SECRET

T = TypeVar("T")
Target = Callable[[bytes], None]
NOW: Final = datetime(2030, 1, 1, tzinfo=UTC)
ISSUER: Final = "https://issuer.example"
API: Final = Key("default", "api-1")


def export_of_a_store(data: bytes) -> None:
    """What `meshwright import` is given."""
    reader = _Reader()
    with contextlib.suppress(BadStream):
        reader.read(data.splitlines())
        reader.finished()


def csr(data: bytes) -> None:
    """What a proxy wants to have signed."""
    with contextlib.suppress(CsrRefused):
        check_csr(data)


def peer(data: bytes) -> None:
    """The certificate of a connection. The handshake has verified it before: that it is well made is not relied on."""
    with contextlib.suppress(UnusablePeer):
        proved(data)


class JoinToken:
    def __init__(self) -> None:
        self._tokens = TokenStore(Path(tempfile.mkdtemp(prefix="meshwright-fuzz-")))
        self.good = self._tokens.create("default", "api", now=NOW)

    def __call__(self, data: bytes) -> None:
        with contextlib.suppress(CaError, InvalidName):
            self._tokens.verify(_text(data), "default", "api-1", NOW)


class Jwt:
    """A token of an issuer that signs with one key, which the fuzzer does not have: nothing may come of it."""

    def __init__(self) -> None:
        self._key = new_key()
        keys = _Keys(jwt.PyJWK(public_jwk(self._key, "one")))
        subjects = Subjects("system:serviceaccount:{namespace}:{serviceAccount}", workload=("pod", "name"))
        self._proof = JwtProof([Issuer(ISSUER, ("mesh",), (subjects,), keys)], lambda: NOW)
        claims = {
            "iss": ISSUER,
            "aud": "mesh",
            "sub": "system:serviceaccount:default:api",
            "exp": 2_000_000_000,
        }
        self.good = jwt.encode({**claims, "pod": {"name": "api-1"}}, self._key, "ES256", {"kid": "one"})

    def __call__(self, data: bytes) -> None:
        text = _text(data)
        try:
            _finished(self._proof.verify(text, API, ""))
        except (NotProved, ProvedAnother):
            return
        # Base64 has several spellings of one token.
        assert text.rpartition(".")[0] == self.good.rpartition(".")[0], "a token that the issuer did not sign"


class _Keys:
    def __init__(self, key: jwt.PyJWK) -> None:
        self._key = key

    async def find(self, kid: str | None) -> jwt.PyJWK | None:
        return self._key if kid in {None, "one"} else None


def key_set(data: bytes) -> None:
    """What an issuer answers when it is asked for its keys."""
    with contextlib.suppress(NoAnswer):
        _parsed(data)


def foreign_bundle(data: bytes) -> None:
    """What the bundle endpoint of another trust domain answers, or a file: whatever is taken of it, proxies can be given."""
    with contextlib.suppress(UnusableBundle):
        taken = parse_file(data, "b.example")
        assert parse_file(spiffe_document(taken), "b.example") == taken
        roots_secret(TrustBundle("a.example", taken.roots), (taken,))


def node(data: bytes) -> None:
    """A whole first request, with its node: the protocol of xDS, and the name that it gives itself."""
    for kind, session in ((DeltaDiscoveryRequest, DeltaSession), (DiscoveryRequest, SotwSession)):
        try:
            request = kind.FromString(data)
        except DecodeError:
            continue
        with contextlib.suppress(InvalidName):
            parse_node_id(request.node.id)
        cache = ResourceCache()
        resources = (*several(CLUSTER, "a b"), *several(ENDPOINT, "a"), *several(SECRET, "identity"))
        cache.publish([ScopeChange(SCOPE, put=resources, replace=True)])
        cache.open()
        talk: Any = session(cache, (SCOPE,))
        with contextlib.suppress(ProtocolViolation):
            for number in range(2):  # the second is an answer to what came meanwhile, and names the same
                talk.receive(talk.parse(data), float(number))
                while talk.poll(float(number)) is not None:
                    pass
        talk.close()


def documents(data: bytes) -> None:
    """A file of documents: `parse` raises nothing, and says of each error where it is."""
    for error in parse("fuzz.yaml", data, KINDS).errors:
        str(error)


class Mesh:
    """Documents that are right, in a mesh of a few workloads: everything that its sidecars get can be rendered."""

    def __init__(self) -> None:
        self._world = state()
        self._renderer = Renderer()

    def __call__(self, data: bytes) -> None:
        parsed = parse("fuzz.yaml", data, KINDS)
        if parsed.errors or not parsed.documents:
            return
        snapshot = SourceSnapshot(
            "fuzz",
            services=tuple(parsed.services()),
            workloads=tuple(parsed.workloads()),
            declared=tuple(parsed.declared()),
        )
        world, _ = self._world.apply(snapshot)
        for name in sidecars(world)[:3]:
            rendered(world, name, self._renderer)


def admission_review(data: bytes) -> None:
    """What anybody may send to the webhooks' port. A pod in it is one that the API server has read."""
    with contextlib.suppress(ValueError, RecursionError):
        _, request = request_of(json.loads(data))
        request.pop("object", None)
        mutated(request, InjectOptions(image="meshwright:dev")).review("")


def targets() -> dict[str, Target]:
    return {
        "csr": csr,
        "peer": peer,
        "join-token": JoinToken(),
        "jwt": Jwt(),
        "key-set": key_set,
        "foreign-bundle": foreign_bundle,
        "node": node,
        "documents": documents,
        "admission-review": admission_review,
        "store-export": export_of_a_store,
        "mesh": Mesh(),
    }


def seeds(name: str, target: Target) -> Iterator[bytes]:
    """Where the fuzzer begins: what is right, so that it need not find out."""
    if isinstance(target, JoinToken | Jwt):
        yield target.good.encode()
    elif name == "csr":
        yield make_csr(new_key()).der
    elif name == "peer":
        with tempfile.TemporaryDirectory() as folder:
            authority = BuiltinAuthority.open(Path(folder), "example.org", lambda: NOW)
            identity = Identity("example.org", API.namespace, "api")
            yield _finished(authority.issue(LeafRequest(identity, make_csr(new_key()), API))).chain_pem
    elif name == "key-set":
        yield json.dumps({"keys": [public_jwk(new_key(), "one")]}).encode()
    elif name == "foreign-bundle":
        with tempfile.TemporaryDirectory() as folder:
            bundle = BuiltinAuthority.open(Path(folder), "b.example", lambda: NOW).roots()
            yield from (spiffe_document(bundle), bundle.pem)
    elif name == "store-export":
        blob = encode_stored(Stored("Service", API, {"spec": {}}, NOW, "u", 1, "1"))
        node = encode_node(Node(entries={("Service", API): digest(blob)}))
        lines = [("document", digest(blob), blob), ("node", digest(node), node)]
        head = b'{"meshwright-store":1,"head":{"number":0,"id":"","oldest":0}}'
        said = [b'{"%s":"%s","json":%s}' % (what.encode(), of.encode(), data) for what, of, data in lines]
        yield b"\n".join([head, *said, b'{"end":2}'])
    elif name == "admission-review":
        asked = {"uid": "u", "operation": "CREATE", "kind": {"kind": "Pod"}}
        yield json.dumps({"apiVersion": VERSION, "kind": KIND, "request": asked}).encode()
    elif name == "node":
        request = DeltaDiscoveryRequest(type_url=CLUSTER, resource_names_subscribe=["*", "a"])
        request.node.id = "default/api-1"
        request.node.metadata["a"] = 1
        yield request.SerializeToString()
        yield DiscoveryRequest(type_url=ENDPOINT, resource_names=["a"], version_info="1").SerializeToString()
    else:
        cases = Path(__file__).parents[1] / "golden" / "cases"
        yield from (path.read_bytes() for path in sorted(cases.glob("*/input.yaml")))


def _text(data: bytes) -> str:
    """As gRPC gives strings: UTF-8."""
    return data.decode(errors="replace")


def _finished(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that waits for nothing."""
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    work.close()
    raise AssertionError("it waits")
