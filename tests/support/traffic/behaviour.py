"""What an application server is asked to do: `delay=200ms; status=503`, in the header `x-behave` or by `Server.behave`.

delay=200ms       wait before anything is answered
status=503        answer with this status
fail-first=2      answer 503 (or `status`) to the first two tries of a request; a request is known by its x-request-id, which
                  Envoy keeps over retries, and its tries are counted over all servers of the mesh
fail-every=3      answer 503 (or `status`) to each third request of this server
reset             break the connection (TCP RST) instead of an answer
reset-body        break the connection in the middle of the answer's body
hang              never answer
slow-body=500ms   send the head at once, and the body over this time
body=10000        this many bytes of compressible text instead of JSON
type=text/plain   the answer's content type
header=a:b        one more header of the answer; may be given several times
call=store        call this service through the own sidecar, and pass on its answer's status; trace headers are handed on
only=api-1        other workloads take no notice of the whole header; `|` between several
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Durations are in seconds."""

    delay: float = 0.0
    status: int | None = None
    fail_first: int = 0
    fail_every: int = 0
    reset: bool = False
    reset_body: bool = False
    hang: bool = False
    slow_body: float = 0.0
    body: int | None = None
    content_type: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    call: str | None = None
    only: frozenset[str] = frozenset()


NORMAL = Behaviour()


def parse(text: str) -> Behaviour:
    """ValueError for what is not in the list above: a test that is misspelt must not pass."""
    given: dict[str, object] = {}
    headers: list[tuple[str, str]] = []
    for part in filter(None, (each.strip() for each in text.split(";"))):
        name, _, value = part.partition("=")
        match name:
            case "delay" | "slow-body":
                given[name.replace("-", "_")] = seconds(value)
            case "status" | "fail-first" | "fail-every" | "body":
                given[name.replace("-", "_")] = int(value)
            case "reset" | "reset-body" | "hang":
                given[name.replace("-", "_")] = True
            case "type":
                given["content_type"] = value
            case "header":
                header, _, content = value.partition(":")
                headers.append((header, content))
            case "call":
                given["call"] = value
            case "only":
                given["only"] = frozenset(value.split("|"))
            case _:
                raise ValueError(f"no such behaviour: {part!r} in {text!r}")
    return Behaviour(**given, headers=tuple(headers))  # type: ignore[arg-type]


def seconds(text: str) -> float:
    """`200ms`, `1.5s`."""
    if text.endswith("ms"):
        return float(text[:-2]) / 1000
    if text.endswith("s"):
        return float(text[:-1])
    raise ValueError(f"not a duration: {text!r} (200ms, 1.5s)")
