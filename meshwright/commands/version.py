"""`meshwright version`."""

from __future__ import annotations

from meshwright.commands.options import Output, OutputOption


def version(output: OutputOption = Output.TABLE) -> None:
    """Print the version of this program, and what it is built for."""
    import platform

    from envoy.install import VERSION
    from meshwright.commands.output import line, show

    data = {
        "meshwright": own(),
        "envoy": VERSION,
        "python": platform.python_version(),
    }
    show(
        output, data, lambda console: line(console, "\n".join(f"{name} {is_}" for name, is_ in data.items()))
    )


def own() -> str:
    """The version of this program."""
    import importlib.metadata

    return importlib.metadata.version("meshwright")
