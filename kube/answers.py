"""What an answer of an API server means: JSON, or one of our errors. Pure.

A refusal is a `Status` object (https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kube.errors import (
    AlreadyExists,
    ApiError,
    Busy,
    Conflict,
    Expired,
    Field,
    Forbidden,
    Invalid,
    Nonsense,
    NotFound,
    Unauthorized,
)
from kube.resource import Object, Resource

LONGEST = 500
"""Characters of a server's message that are told."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request was, in RBAC's terms. `namespace` "" means all of them, or an object of the cluster."""

    cluster: str
    verb: str
    resource: Resource
    namespace: str = ""
    name: str = ""
    subresource: str = ""

    def __str__(self) -> str:
        what = str(self.resource) + (f"/{self.subresource}" if self.subresource else "")
        which = "/".join(filter(None, (self.namespace, self.name)))
        if self.name:
            return f"cluster {self.cluster}: {self.verb} {what} {which}"
        where = f" in namespace {self.namespace}" if self.namespace else ""
        return f"cluster {self.cluster}: {self.verb} {what}{where}"

    def missing_rule(self) -> str:
        """The rule of RBAC that this request needs, as one writes it in a Role or ClusterRole."""
        resource = self.resource.plural + (f"/{self.subresource}" if self.subresource else "")
        kind = f"Role in namespace {self.namespace}" if self.namespace else "ClusterRole"
        return f'{{apiGroups: ["{self.resource.group}"], resources: ["{resource}"], verbs: ["{self.verb}"]}} in a {kind}'


def parse_object(asked: Asked, body: bytes) -> Object:
    """Nonsense if `body` is not a JSON object."""
    try:
        value = json.loads(body)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise Nonsense(
            f"{asked}: the answer is not a JSON object: is the address that of a Kubernetes API server?"
        )
    return value


def refusal(asked: Asked, code: int, body: bytes, retry_after: str = "") -> ApiError:
    """The error that an answer other than 2xx is."""
    try:
        status = json.loads(body)
    except ValueError:
        status = None
    if not isinstance(status, dict):
        text = re.sub(r"\s+", " ", body[:LONGEST].decode(errors="replace")).strip()
        status = {"message": text}
    return status_error(asked, status, code=code, retry_after=_seconds(retry_after))


def status_error(
    asked: Asked, status: Mapping[str, Any], *, code: int = 0, retry_after: float = 0.0
) -> ApiError:
    """The error that a `Status` object is: an answer's, or that of a watch's ERROR event."""
    code = code or int(status.get("code") or 500)
    reason = str(status.get("reason") or "")
    given = status.get("details")
    details = given if isinstance(given, dict) else {}
    retry_after = retry_after or float(details.get("retryAfterSeconds") or 0)
    said = str(status.get("message") or reason or "no reason given")[:LONGEST]
    if asked.resource.plural == "secrets" and code in {400, 422}:
        said = "the object is not valid (what the server said may quote it)"
    text = f"{asked}: {code}: {said}"
    if code == 401:
        return Unauthorized(
            f"{text}: the credentials are not, or no longer, valid here", retry_after=retry_after
        )
    if code == 403:
        if "admission webhook" in said:
            return Forbidden(text, retry_after=retry_after)
        return Forbidden(f"{text}: grant {asked.missing_rule()}", retry_after=retry_after)
    if code == 404:
        if asked.name and details.get("name"):
            return NotFound(text, retry_after=retry_after)
        return NotFound(
            f"{text}: the server has no {asked.resource.plural} of {asked.resource.api_version}: "
            "is its CustomResourceDefinition installed?",
            retry_after=retry_after,
        )
    if code == 409:
        kind = AlreadyExists if reason == "AlreadyExists" else Conflict
        return kind(text, retry_after=retry_after)
    if code == 410:
        return Expired(text, retry_after=retry_after)
    if code in {400, 413, 422}:
        fields = tuple(
            Field(str(cause.get("field") or ""), str(cause.get("message") or cause.get("reason") or "wrong"))
            for cause in details.get("causes") or ()
            if isinstance(cause, dict)
        )
        return Invalid(text, fields=fields, retry_after=retry_after)
    if code == 429 or code >= 500:
        return Busy(text, retry_after=retry_after)
    return Nonsense(f"{text}: no answer of a Kubernetes API server", retry_after=retry_after)


def _seconds(text: str) -> float:
    return float(text) if text.isascii() and text.isdecimal() else 0.0


class Lines:
    """Cuts a stream of bytes into lines: a watch is one JSON object a line. `limit`: bytes of the longest."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rest: list[bytes] = []
        self._length = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes. OverflowError if one grows beyond the limit."""
        first, newline, more = data.partition(b"\n")
        self._length += len(first)
        if self._length > self._limit:
            raise OverflowError(f"a line is longer than {self._limit} bytes")
        self._rest.append(first)
        if not newline:
            return []
        *whole, last = more.split(b"\n")
        lines = [b"".join(self._rest), *whole]
        self._rest = [last] if last else []
        self._length = len(last)
        return [line for line in lines if line.strip()]
