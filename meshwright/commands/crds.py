"""`meshwright crds`: the kinds of Meshwright as a Kubernetes API server takes them."""

from __future__ import annotations

import typer


def crds() -> None:
    """Print the CustomResourceDefinitions: `meshwright crds | kubectl apply --server-side -f -`. `meshwright install` has them too."""
    from meshwright.kubernetes.crds import crds as made
    from meshwright.kubernetes.install.printed import printed

    typer.echo(printed(made()), nl=False)
