"""`meshwright explain`: what becomes of a request, without sending it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshwright.commands.documents import NamespaceOption
from meshwright.commands.options import DocumentsOption, Output, OutputOption, TrustDomainOption
from meshwright.commands.remote import remote_unless

if TYPE_CHECKING:
    from rich.console import Console

    from api.shapes.explain import ExplainAnswer, ExplainRequest
    from meshwright.api_client import Api

GRPC_HEADERS = (("content-type", "application/grpc"), ("te", "trailers"))
PATIENCE = 60.0
"""Seconds: much may have to be rendered for it."""
NARROWEST = 20
"""Columns that text needs to be folded."""
MARGIN = re.compile(r" *(?:- |by |Way out: |[a-z]+(?: [a-z]+)? {2,})?")
"""What stands before the text of a line."""
OPTIONS = {
    "path": "PATH",
    "headers": "--header",
    "claims": "--jwt-claims",
    "localPort": "--local-port",
    "gateway": "--to-gateway",
    "serverName": "--server-name",
    "clientAddress": "--client-address",
    **{each: f"--{each}" for each in ("from", "to", "port", "host", "tls", "proxy", "dump")},
}
"""How the fields of a request are called on the command line."""
HEADINGS = ("The client sees", "To be known", "The proxy differs from what the mesh says")


@remote_unless("documents")
async def explain(
    api: Api,
    method: Annotated[
        str,
        typer.Argument(metavar="[METHOD]", help="Of HTTP; or GRPC, or TCP for a connection that is neither."),
    ] = "GET",
    path: Annotated[
        str, typer.Argument(metavar="[PATH]", help="With the query; of GRPC, <service>/<method>.")
    ] = "/",
    caller: Annotated[
        str,
        typer.Option(
            "--from", metavar="WORKLOAD|SERVICE", help="Who calls. Of a service, one workload stands for all."
        ),
    ] = "",
    to: Annotated[
        str,
        typer.Option("--to", metavar="HOST|NAMESPACE/SERVICE", help="What is called, as the caller says it."),
    ] = "",
    port: Annotated[
        int | None, typer.Option("--port", help="By default 80, else the service's only one.")
    ] = None,
    host: Annotated[
        str, typer.Option("--host", help="What the request says as its host, where it is not --to.")
    ] = "",
    header: Annotated[
        list[str] | None,
        typer.Option("--header", "-H", metavar="'NAME: VALUE'", help="Of the request. Repeat it for more."),
    ] = None,
    claims: Annotated[
        str,
        typer.Option(
            "--jwt-claims",
            metavar="JSON|@FILE",
            help="What the request's token claims; it is taken for valid.",
        ),
    ] = "",
    local_port: Annotated[
        int | None, typer.Option("--local-port", help="An explicit local port (`uses`) that is called.")
    ] = None,
    gateway: Annotated[
        str,
        typer.Option(
            "--to-gateway", metavar="[NAMESPACE/]GATEWAY", help="A client outside asks this gateway."
        ),
    ] = "",
    server_name: Annotated[
        str, typer.Option("--server-name", help="The server name (SNI) of a client outside, who speaks TLS.")
    ] = "",
    tls: Annotated[
        bool, typer.Option("--tls", help="A client outside speaks TLS, for the host that it asks for.")
    ] = False,
    client_address: Annotated[
        str, typer.Option("--client-address", help="Of a client outside.")
    ] = "198.51.100.1",
    proxy: Annotated[
        str,
        typer.Option(
            "--proxy",
            metavar="WORKLOAD",
            help="Start from what this proxy was given, not from what the mesh says now.",
        ),
    ] = "",
    dump: Annotated[
        str,
        typer.Option(
            "--dump",
            metavar="FILE|-",
            help="Start from what a proxy says it has: Envoy's /config_dump?include_eds.",
        ),
    ] = "",
    admin: Annotated[
        str,
        typer.Option(
            "--admin", metavar="HOST:PORT|SOCKET", help="As --dump, asked of Envoy's admin interface."
        ),
    ] = "",
    documents: DocumentsOption = None,
    trust_domain: TrustDomainOption = "mesh.local",
    namespace: NamespaceOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Take a request through the mesh's own configuration, without sending it: routes, splits, retries and timeouts, endpoints, mesh TLS,
    access, rate limits, and what the client would see; at each step the document and the line that decided.

    For example: meshwright explain --from web --to api GET /orders/7 -H 'x-user: 7'
    """
    from meshwright.commands.output import show

    where = namespace or api.namespace
    asked = _asked(
        method=method,
        path=path,
        headers=tuple(header or ()),
        claims=claims,
        said={
            "from": _named(caller, where),
            "to": to,
            "port": port,
            "host": host,
            "localPort": local_port,
            "gateway": _named(gateway, where),
            "serverName": server_name,
            "tls": tls,
            "clientAddress": client_address,
            "proxy": _named(proxy, where),
            "dump": await _dump(dump, admin),
        },
    )
    found = await _found(api, asked, documents, trust_domain)
    data = found.model_dump(mode="json", by_alias=True)
    show(output, data, lambda console: _people(console, found))


async def _found(api: Api, asked: ExplainRequest, documents: Path | None, trust_domain: str) -> ExplainAnswer:
    from api.errors import ApiError
    from api.shapes.explain import ExplainAnswer
    from meshwright.errors import RefusedError

    if documents is not None:
        from meshwright.explainer import over_directory

        try:
            return over_directory(documents, trust_domain, asked)
        except ApiError as error:
            raise RefusedError(error.detail) from error
    body = asked.model_dump(mode="json", by_alias=True)
    answer = await api.send("POST", "explain", body, patience=PATIENCE)
    return api.model(ExplainAnswer, answer.body)


def _asked(
    *, method: str, path: str, headers: tuple[str, ...], claims: str, said: dict[str, Any]
) -> ExplainRequest:
    from pydantic import ValidationError

    from api.shapes.explain import ExplainRequest
    from meshwright.errors import UsageError

    pairs = [_header(each) for each in headers]
    verb = method.upper()
    if verb == "GRPC":
        pairs = [*GRPC_HEADERS, *pairs]
        path = path if path.startswith("/") else f"/{path}"
    try:
        return ExplainRequest.model_validate(
            {
                **said,
                "method": "POST" if verb == "GRPC" else verb,
                "path": path,
                "headers": [{"name": name, "value": value} for name, value in pairs],
                "claims": _claims(claims),
                "tcp": verb == "TCP",
            }
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = str(first["loc"][0])
        if field == "method":
            raise UsageError(
                f"{method!r} is no method: write GET, POST and so on, GRPC or TCP; "
                f"a path comes after it, as in: GET {method if method.startswith('/') else '/orders'}"
            ) from error
        raise UsageError(f"{OPTIONS.get(field, field)}: {first['msg']}") from error


def _header(text: str) -> tuple[str, str]:
    from meshwright.errors import UsageError

    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise UsageError(f"--header {text!r}: write it as 'name: value'")
    return name.strip(), value.strip()


def _claims(text: str) -> dict[str, Any] | None:
    import json

    from meshwright.errors import UsageError

    if not text:
        return None
    try:
        found = json.loads(Path(text[1:]).read_text() if text.startswith("@") else text)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"--jwt-claims cannot be read: {error}: give a JSON object, or @FILE with one"
        ) from error
    if not isinstance(found, dict):
        raise UsageError('--jwt-claims is no JSON object: write it as {"sub": "ann"}')
    return found


async def _dump(file: str, admin: str) -> Any:
    """What a proxy says itself; None: nothing is given."""
    import json
    import sys

    from meshwright.errors import UsageError

    if file and admin:
        raise UsageError("--dump and --admin both say what the proxy has: keep one")
    if admin:
        return await _from_admin(admin)
    if not file:
        return None
    try:
        found = json.loads(sys.stdin.read() if file == "-" else Path(file).read_text())
    except (OSError, ValueError) as error:
        raise UsageError(
            f"--dump {file} cannot be read: {error}: give the JSON of Envoy's /config_dump"
        ) from error
    if not isinstance(found, dict):
        raise UsageError(f"--dump {file} is no dump: give the JSON of Envoy's /config_dump?include_eds")
    return found


async def _from_admin(where: str) -> Any:
    from envoy.admin import AdminClient
    from meshwright.errors import UsageError

    host, colon, port = where.rpartition(":")
    if "/" in where:
        client = AdminClient(socket=where)
    elif colon and port.isdigit():
        client = AdminClient(host.strip("[]") or "127.0.0.1", int(port))
    else:
        raise UsageError(f"--admin {where!r}: give HOST:PORT, or the path of a socket")
    found = await client.config_dump(endpoints=True)
    if not isinstance(found, dict):
        raise UsageError(
            f"Envoy's admin interface at {where} gave a dump that is no JSON: it does so after some refusals"
        )
    return found


def _named(name: str, namespace: str) -> str:
    return name if not name or "/" in name else f"{namespace}/{name}"


def _people(console: Console, found: ExplainAnswer) -> None:
    from meshwright.commands.output import line, width_of

    for each in found.text:
        for part in _folded(each, width_of(console)):
            line(console, part, "bold" if each in HEADINGS else "")


def _folded(text: str, width: int | None) -> list[str]:
    """Between words, behind the margin that the line has; `width` None: nobody looks."""
    from meshwright.commands.layout import fold

    head = MARGIN.match(text)
    margin = len(head[0]) if head is not None else 0
    if width is None or len(text) <= width or width - margin < NARROWEST:
        return [text]
    first, *others = fold(text[margin:], width - margin)
    return [text[:margin] + first, *(" " * margin + each for each in others)]
