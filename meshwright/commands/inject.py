"""`meshwright inject`: what the webhook does to pods as they are made, done to manifests beforehand."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer


def inject(
    file: Annotated[
        str, typer.Option("--filename", "-f", metavar="FILE", help="Manifests in YAML; - is standard input.")
    ],
    config: Annotated[
        Path | None,
        typer.Option(
            help="The control plane's settings file, of which trust_domain and kubernetes are read."
        ),
    ] = None,
    image: Annotated[str | None, typer.Option(help="Meshwright's own image.")] = None,
    namespace: Annotated[
        str | None,
        typer.Option("--namespace", "-n", help="The control plane's namespace; meshwright-system if unset."),
    ] = None,
    trust_domain: Annotated[str | None, typer.Option(help="The mesh's trust domain.")] = None,
) -> None:
    """Print Kubernetes manifests with a sidecar in each pod, for clusters without the webhook. The rest is printed as it was."""
    from inject.errors import NotInjectable
    from inject.streams import inject_stream
    from meshwright.errors import MeshwrightError
    from meshwright.kubernetes.proxies import injection_options
    from meshwright.settings import load

    text = sys.stdin.read() if file == "-" else Path(file).read_text()
    kubernetes: dict[str, Any] = {"namespace": namespace, "proxy_image": image}
    given = {name: value for name, value in kubernetes.items() if value is not None}
    if config is None:
        given.setdefault("namespace", "meshwright-system")
    settings = load(config, {"trust_domain": trust_domain, "kubernetes": given})
    try:
        made = inject_stream(text, injection_options(settings))
    except NotInjectable as error:
        raise MeshwrightError(f"{file}: {error}") from error
    for note in made.notes:
        typer.echo(f"meshwright: {note}", err=True)
    typer.echo(made.text, nl=False)
