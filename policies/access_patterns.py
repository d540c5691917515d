"""Types of fields of access policies: texts with a star, paths, hosts, identities, networks, methods, ports; and what they are held against.

They stay text in documents and as values, and are read by the functions below once they were checked.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Annotated, Final

from pydantic import AfterValidator, PlainValidator, WithJsonSchema

from documents.envelope import wrong
from documents.expressions import flaw
from mesh.errors import MeshError
from mesh.identity import SEGMENT, TRUST_DOMAIN
from mesh.names import DNS_LABEL, check_label
from policies.access_conditions import How, Text
from policies.access_paths import ambiguous, normal

STAR: Final = "*"
MAX_TEXT: Final = 1024
MOST_NUMBER: Final = 2**53
"""Of larger ones JSON and Envoy do not know each by itself (RFC 8259, section 6)."""
MOST_STEPS: Final = 16
"""Names that lead to a nested claim."""
_SEGMENT_ANY, _PATH_ANY = "{*}", "{**}"
_METHOD = re.compile(r"[A-Z][A-Z0-9_-]{0,31}")
_GRPC_SERVICE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")
_GRPC_METHOD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HOST = re.compile(r"[a-z0-9_.-]*(?::[0-9]{1,5})?|\[[0-9a-f:.]+\](?::[0-9]{1,5})?")
_SPIFFE = re.compile(rf"spiffe://{TRUST_DOMAIN.pattern}/[A-Za-z0-9._/-]*\*?")
_VISIBLE = re.compile(r"[\x20-\x7e]+")


def text(pattern: str, *, any_case: bool = False) -> Text:
    """What `pattern` means: a star at its end or its beginning stands for anything; `*` alone must be asked for before."""
    if pattern.endswith(STAR):
        return Text(How.PREFIX, pattern.removesuffix(STAR), any_case)
    if pattern.startswith(STAR):
        return Text(How.SUFFIX, pattern.removeprefix(STAR), any_case)
    return Text(How.EXACT, pattern, any_case)


def path(pattern: str) -> Text:
    """As `text`; with `{*}` for one segment and `{**}` for any number of them, a regular expression."""
    if "{" not in pattern:
        return text(pattern)
    found = "".join(
        "[^/]+" if piece == _SEGMENT_ANY else ".*" if piece == _PATH_ANY else re.escape(piece)
        for piece in re.split(r"(\{\*{1,2}\})", pattern)
    )
    return Text(How.REGEX, found)


def host(pattern: str, *, loose: bool) -> Text:
    """A host in `:authority`, with or without a port unless the pattern has one. `loose`: whatever an application may take for it, such as
    a dot at the end.
    """
    name, colon, port = pattern.rpartition(":") if re.search(r":[0-9]+$", pattern) else (pattern, "", "")
    body = re.escape(name).replace(re.escape(STAR), ".*")
    dot = r"\.?" if loose else ""
    if colon:
        return Text(How.REGEX, rf"(?i){body}{dot}:{'0*' if loose else ''}{port}")
    return Text(How.REGEX, rf"(?i){body}{dot}(?::{'.*' if loose else '[0-9]+'})?")


def among(pattern: str) -> Text:
    """A value of a header, somewhere in the list that it may be (RFC 9110, section 5.3)."""
    return _element(pattern, before=r"(?:.*,)?\s*", after=r"\s*(?:,.*)?")


def word(pattern: str) -> Text:
    """A word among those of a text with spaces between, as the claim `scope` is (RFC 8693, section 4.2)."""
    return _element(pattern, before="(?:.* )?", after="(?: .*)?")


def _element(pattern: str, before: str, after: str) -> Text:
    held = text(pattern)
    value = re.escape(held.value)
    match held.how:
        case How.PREFIX:
            return Text(How.REGEX, f"{before}{value}.*")
        case How.SUFFIX:
            return Text(How.REGEX, f".*{value}{after}")
        case _:
            return Text(How.REGEX, f"{before}{value}{after}")


def _starred(what: str) -> Callable[[str], str]:
    def check(pattern: str) -> str:
        _sized(what, pattern)
        inner = pattern.removesuffix(STAR) if pattern.endswith(STAR) else pattern.removeprefix(STAR)
        if STAR in inner:
            raise wrong(
                f"{what} {pattern!r} has a star in its middle, or two",
                "A star stands at the end, or at the beginning",
            )
        return pattern

    return check


def _sized(what: str, pattern: str) -> None:
    if not pattern:
        raise wrong(f"{what} is empty", "Remove it, or say which")
    if len(pattern) > MAX_TEXT:
        raise wrong(f"{what} has more than {MAX_TEXT} characters", "Make it shorter")
    if _VISIBLE.fullmatch(pattern) is None:
        raise wrong(f"{what} {pattern!r} has characters other than those of ASCII", "Write it as it is sent")


def _regex(what: str, pattern: str, found: Text) -> None:
    if found.how is How.REGEX and flaw(found.value) is not None:
        raise wrong(f"{what} {pattern!r} is too long for a condition of Envoy", "Make it shorter")


def _path(pattern: str) -> str:
    _sized("path", pattern)
    if pattern == STAR:
        raise wrong("path '*' is every path", "Remove paths, or write /* for every path that begins so")
    if not pattern.startswith(("/", STAR)):
        raise wrong(f"path {pattern!r} does not begin with a slash", f"Write it as /{pattern}")
    if "?" in pattern or "#" in pattern:
        raise wrong(f"path {pattern!r} has a query or a fragment, which is no part of a path", "Remove it")
    bare = pattern.replace(_PATH_ANY, "").replace(_SEGMENT_ANY, "")
    if bare != pattern and STAR in bare:
        raise wrong(
            f"path {pattern!r} has a star and a {{*}}",
            "Use {*} for one segment and {**} for any number of them",
        )
    if "{" in bare or "}" in bare:
        raise wrong(
            f"path {pattern!r} has a brace that is neither {{*}} nor {{**}}", "Write {*} for one segment"
        )
    shown = pattern.replace(_PATH_ANY, "x").replace(_SEGMENT_ANY, "x").removeprefix(STAR)
    right = normal(shown if shown.startswith("/") else f"/{shown}")
    if ambiguous(shown) or right not in {shown, f"/{shown}"}:
        raise wrong(
            f"path {pattern!r} is not what a request has after it was normalised",
            "Write it without //, dot segments and backslashes, and with nothing encoded that need not be",
        )
    if bare == pattern:
        _starred("path")(pattern)
    _regex("path", pattern, path(pattern))
    return pattern


def _host_pattern(pattern: str) -> str:
    _sized("host", pattern)
    if pattern == STAR:
        raise wrong("host '*' is every host", "Remove hosts")
    lower = _starred("host")(pattern.lower())
    if _HOST.fullmatch(lower.strip(STAR)) is None:
        raise wrong(f"{pattern!r} is not a host", "Write it like api.mesh, api.mesh:8080 or *.example.com")
    for loose in (False, True):
        _regex("host", pattern, host(lower, loose=loose))
    return lower


def _value(given: object) -> str | bool | int | float:
    if isinstance(given, str):
        return _starred("value")(given)
    if isinstance(given, bool) or (isinstance(given, int | float) and abs(given) <= MOST_NUMBER):
        return given
    if isinstance(given, int | float):
        raise wrong(f"{given} is no number that a claim can have", "Use one up to 2^53, or text in quotes")
    raise wrong("a value is neither text nor a number, nor true or false", "Give one of these")


def _claim(given: object) -> str | list[str]:
    steps = given.split(".") if isinstance(given, str) else given
    if not isinstance(steps, list) or not all(isinstance(each, str) for each in steps):
        raise wrong("the name of a claim is neither text nor a list of texts", "Write it like groups")
    if not steps or not all(steps):
        raise wrong("the name of a claim is empty", "Write it like groups or realm_access.roles")
    if len(steps) > MOST_STEPS:
        raise wrong(f"a claim in a depth of {len(steps)}", f"Give at most {MOST_STEPS} names")
    return given if isinstance(given, str) else steps


def _port_ref(given: object) -> int | str:
    if isinstance(given, str):
        return _label(given)
    if isinstance(given, bool) or not isinstance(given, int):
        raise wrong("a port is neither a number nor a name", "Write it like 80 or http")
    if not 1 <= given <= 65535:
        raise wrong(f"{given} is not a port", "Use a number from 1 to 65535")
    return given


def _label(name: str) -> str:
    try:
        return check_label("port name", name)
    except MeshError as error:
        raise wrong(
            f"{name!r} is not the name of a port", "Use up to 63 lower-case letters, digits and '-'"
        ) from error


def _identity(pattern: str) -> str:
    _sized("identity", pattern)
    if _SPIFFE.fullmatch(pattern) is None:
        raise wrong(
            f"{pattern!r} is not a SPIFFE id",
            "Write it like spiffe://mesh.local/ns/shop/sa/cart, or with a * at the end, behind the trust domain and its slash",
        )
    return pattern


def _network(given: str) -> str:
    try:
        return str(ipaddress.ip_network(given, strict=True))
    except ValueError as error:
        try:
            right = str(ipaddress.ip_network(given, strict=False))
        except ValueError:
            raise wrong(
                f"{given!r} is no block of addresses", "Write it like 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32"
            ) from error
        raise wrong(f"{given!r} has bits set beyond its length", f"Write it as {right}") from error


def _method(name: str) -> str:
    if _METHOD.fullmatch(name) is None:
        raise wrong(f"{name!r} is not a method", "Write it in capitals, like GET")
    return name


def _matching(what: str, form: re.Pattern[str], like: str) -> Callable[[str], str]:
    def check(given: str) -> str:
        if form.fullmatch(given) is None or len(given) > MAX_TEXT:
            raise wrong(f"{given!r} is not {what}", f"Write it like {like}")
        return given

    return check


def named(given: str, own: str) -> tuple[str, str]:
    """`name` in the namespace `own`, or `namespace/name`."""
    namespace, slash, name = given.partition("/")
    return (namespace, name) if slash else (own, given)


def _qualified(what: str, check: Callable[[str, str], object]) -> Callable[[str], str]:
    def checked(given: str) -> str:
        try:
            check(*named(given, "default"))
        except (MeshError, ValueError) as error:
            raise wrong(f"{given!r} is no {what}", f"Write <{what}>, or <namespace>/<{what}>") from error
        return given

    return checked


def _service(namespace: str, name: str) -> None:
    check_label("namespace", namespace)
    check_label("service", name)


def _account(namespace: str, name: str) -> None:
    check_label("namespace", namespace)
    if SEGMENT.fullmatch(name) is None or name in {".", ".."}:
        raise ValueError(name)


Path = Annotated[str, AfterValidator(_path)]
HostPattern = Annotated[str, AfterValidator(_host_pattern)]
IdentityPattern = Annotated[str, AfterValidator(_identity)]
TrustDomain = Annotated[
    str, AfterValidator(_matching("a trust domain", TRUST_DOMAIN, "mesh.local, in lower case"))
]
Network = Annotated[str, AfterValidator(_network)]
MethodName = Annotated[str, AfterValidator(_method)]
GrpcService = Annotated[
    str, AfterValidator(_matching("the full name of a gRPC service", _GRPC_SERVICE, "shop.v1.Cart"))
]
GrpcMethod = Annotated[str, AfterValidator(_matching("the name of a gRPC method", _GRPC_METHOD, "GetItem"))]
ServicePattern = Annotated[str, AfterValidator(_qualified("service", _service))]
AccountPattern = Annotated[str, AfterValidator(_qualified("service account", _account))]
PortRef = Annotated[
    int | str,
    PlainValidator(_port_ref),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": 65535},
                {"type": "string", "pattern": f"^{DNS_LABEL.pattern}$"},
            ]
        }
    ),
]
"""The number of a service's port, or its name."""
Value = Annotated[
    str | bool | int | float,
    PlainValidator(_value),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "boolean"}, {"type": "number"}]}),
]
"""What a header or a claim says."""
ClaimName = Annotated[
    str | list[str],
    PlainValidator(_claim),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]
