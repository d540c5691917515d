"""Help as plain text: it fits a narrow terminal, a pipe and a mail, and needs nothing that is slow to import.

Commands and options stand in sections, by their `rich_help_panel`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

F = TypeVar("F", bound=Callable[..., Any])


class Commands(typer.Typer):
    """A `typer.Typer` of commands; without one it shows its help."""

    def __init__(
        self,
        name: str | None = None,
        *,
        help: str,  # noqa: A002
        sections: Sequence[str] = (),
        completion: bool = False,
    ) -> None:
        """`sections`: the order in which the help shows them."""
        super().__init__(
            name=name,
            help=help,
            cls=type("_Sectioned", (_Group,), {"sections": tuple(sections)}),
            context_settings={"help_option_names": ["-h", "--help"]},
            no_args_is_help=True,
            rich_markup_mode=None,
            add_completion=completion,
            pretty_exceptions_enable=False,
        )

    def command(self, name: str | None = None, **options: Any) -> Callable[[F], F]:
        """As typer's; `rich_help_panel` is the section of the command."""
        return super().command(name, cls=_Command, **options)


class _Command(TyperCommand):
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """`--wait=30s` is `--wait --timeout=30s`: an option whose value may be left out, which typer does not know."""
        if any("--wait" in each.opts for each in self.params):
            args = [part for each in args for part in _waiting(each)]
        return super().parse_args(ctx, args)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        _options(self.get_params(ctx), ctx, formatter)


class _Group(TyperGroup):
    sections: ClassVar[tuple[str, ...]] = ()

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Commands first: who reads the help of a group looks for one."""
        self.format_commands(ctx, formatter)
        _options(self.get_params(ctx), ctx, formatter)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        sections: dict[str, list[tuple[str, str]]] = {each: [] for each in self.sections}
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        shown = [(name, command) for name, command in found if command is not None and not command.hidden]
        # One column for all sections.
        widest = max((len(name) for name, _ in shown), default=0)
        for name, command in shown:
            panel = getattr(command, "rich_help_panel", None)
            section = panel if isinstance(panel, str) else "Commands"
            sections.setdefault(section, []).append((name.ljust(widest), _summary(command.help or "")))
        for heading, rows in sections.items():
            if rows:
                with formatter.section(heading):
                    formatter.write_dl(rows)


def _waiting(argument: str) -> tuple[str, ...]:
    if argument.startswith("--wait="):
        return "--wait", f"--timeout={argument.removeprefix('--wait=')}"
    return (argument,)


def _summary(text: str) -> str:
    """The first sentence, whole: the formatter wraps it."""
    paragraph = " ".join(text.split("\n\n", 1)[0].split())
    return paragraph.partition(". ")[0].removesuffix(".")


def _options(parameters: Iterable[Any], ctx: Any, formatter: Any) -> None:
    sections: dict[str, list[tuple[str, str]]] = {}
    for each in parameters:
        record = each.get_help_record(ctx)
        if record is not None:
            default = "Arguments" if each.param_type_name == "argument" else "Options"
            panel = getattr(each, "rich_help_panel", None)
            sections.setdefault(panel if isinstance(panel, str) else default, []).append(record)
    # What is common to many commands comes last.
    for heading, rows in sorted(sections.items(), key=lambda each: each[0] not in {"Arguments", "Options"}):
        with formatter.section(heading):
            formatter.write_dl(rows)
