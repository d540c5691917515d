"""A stream of YAML documents, with sidecars in the pods that they hold. What holds none is passed on as it was written, to the byte."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from inject.errors import NotInjectable
from inject.options import InjectOptions
from inject.workloads import injected


@dataclass(frozen=True, slots=True)
class Stream:
    text: str
    notes: tuple[str, ...] = ()


def inject_stream(text: str, options: InjectOptions) -> Stream:
    """NotInjectable for a pod that cannot have a sidecar, and for what is no YAML: with the line. Comments in what is changed are lost."""
    made: list[str] = []
    notes: list[str] = []
    for line, chunk in _documents(text):
        try:
            manifest = yaml.load(chunk, Loader=yaml.CSafeLoader)
            outcome = injected(manifest, options)
        except yaml.YAMLError as error:
            raise NotInjectable(f"the document at line {line} is no YAML: {error}") from error
        except NotInjectable as error:
            raise NotInjectable(f"{error} (the document at line {line})") from error
        notes += outcome.notes
        if outcome.value is manifest:
            made.append(chunk)
        else:
            begin = "---\n" if chunk.startswith("---") else ""
            made.append(begin + yaml.dump(outcome.value, Dumper=_Dumper, sort_keys=False, width=1_000))
    return Stream("".join(made), tuple(notes))


def _documents(text: str) -> Iterator[tuple[int, str]]:
    """Each document with the marker that begins it, and the number of its first line."""
    try:
        starts = [
            (mark.line + 1, mark.index)
            for event in yaml.parse(text, Loader=yaml.CSafeLoader)
            if isinstance(event, yaml.DocumentStartEvent) and event.explicit and (mark := event.start_mark)
        ]
    except yaml.YAMLError as error:
        raise NotInjectable(f"this is no YAML: {error}") from error
    if not starts or text[: starts[0][1]].strip():
        starts.insert(0, (1, 0))
    else:
        starts[0] = (starts[0][0], 0)
    ends = [index for _, index in starts[1:]] + [len(text)]
    for (line, begin), end in zip(starts, ends, strict=True):
        yield line, text[begin:end]


class _Dumper(yaml.SafeDumper):
    """As people write manifests: texts of several lines as blocks, everything said where it stands."""

    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
