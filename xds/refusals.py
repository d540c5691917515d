"""Who is to blame for a NACK.

Envoy names the culprit for clusters and listeners, the first one for routes, nobody for endpoints and secrets; a broken
constraint comes with a text dump that may name others as well.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

# A name is not part of a longer one: `api` is neither in `api-2` nor in `api.default`, but it is in `api: unknown filter` and `'api'.`
_BEFORE = r"(?<![\w.:/|-])"
_AFTER = r"(?![\w/|-]|[.:]\w)"
_WORD = re.compile(r"[\w.:/|-]+")
_END = re.compile(r"[.:](?!\w)")
"""Where a name may end within a word of a message: before punctuation."""

NAME = 512
"""Characters of a word in which a name's end is looked for: a word of dots and nothing else would have as many prefixes."""

READ = 32 * 1024
"""Characters at both ends of a message that are looked at: a client may send any amount, and all others would wait meanwhile."""


def named(names: Sequence[str], message: str) -> list[str]:
    """Those of `names` that stand in `message`. The work grows with their number and the length of the message, not with both at once."""
    if len(message) > 2 * READ:
        message = f"{message[:READ]} {message[-READ:]}"
    said: set[str] = set()
    for word in frozenset(_WORD.findall(message)):
        said.add(word)
        said.update(word[: end.start()] for end in _END.finditer(word[:NAME]))
    said.discard("")
    return [name for name in names if name in said or (not _WORD.fullmatch(name) and _stands(name, message))]


def _stands(name: str, message: str) -> bool:
    """The same for a name that is no single word."""
    return name in message and bool(re.search(_BEFORE + re.escape(name) + _AFTER, message)) if name else False


def parts(names: Sequence[str], message: str) -> tuple[list[str], list[tuple[str, ...]]]:
    """Of a refused response with `names`: the culprits that are known, and in which parts to try the others.

    One that is named, or alone, is the culprit. Several that are named are tried apart from the rest, which thus gets
    through: a text dump may name the innocent. Where none is named, or all are, halves are tried until a culprit is alone.
    """
    if len(names) <= 1:
        return list(names), []
    found = named(names, message)
    if len(found) == 1:
        return found, []
    if 1 < len(found) < len(names):
        suspects = frozenset(found)
        return [], [tuple(name for name in names if name not in suspects), tuple(found)]
    half = len(names) // 2
    return [], [tuple(names[:half]), tuple(names[half:])]
