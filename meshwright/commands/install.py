"""`meshwright install` and `uninstall`: Meshwright on a Kubernetes cluster."""

from __future__ import annotations

from typing import Annotated

import typer

SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="An option of docs/kubernetes.md; repeatable. settings.NAME sets a setting of `serve`.",
    ),
]


def install(given: SetOption = None) -> None:
    """Print what Meshwright is on Kubernetes: `meshwright install | kubectl apply --server-side -f -`."""
    from meshwright.kubernetes.install.checked import checked
    from meshwright.kubernetes.install.options import parse
    from meshwright.kubernetes.install.printed import installed, printed

    typer.echo(printed(installed(checked(parse(given or [])))), nl=False)


def uninstall(
    given: SetOption = None,
    *,
    crds: Annotated[
        bool,
        typer.Option(
            "--crds", help="The custom resource definitions as well, and with them every document of ours."
        ),
    ] = False,
) -> None:
    """Print what is to be taken away: `meshwright uninstall | kubectl delete --ignore-not-found -f -`."""
    from meshwright.kubernetes.install.options import parse
    from meshwright.kubernetes.install.printed import printed, uninstalled

    typer.echo(printed(uninstalled(parse(given or []), crds=crds)), nl=False)
