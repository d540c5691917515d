"""Questions of the API server before it takes an object, and answers, as values: AdmissionReview in, AdmissionReview out. Pure.

https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#request
"""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from kube.resource import Object

VERSION: Final = "admission.k8s.io/v1"
KIND: Final = "AdmissionReview"
WARNINGS: Final = 32
LONGEST_WARNING: Final = 256
"""Characters: kubectl shows them all, and the API server cuts what is longer."""


class NotAReview(ValueError):
    """What was sent is no AdmissionReview that is understood here."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`message` says why an object is refused; `patch` (RFC 6902) what of it is changed. `code` is the HTTP status of a refusal."""

    allowed: bool = True
    message: str = ""
    patch: tuple[Object, ...] = ()
    warnings: tuple[str, ...] = ()
    code: int = 422

    def review(self, uid: str) -> Object:
        said: dict[str, Any] = {"uid": uid, "allowed": self.allowed}
        if not self.allowed:
            said["status"] = {
                "code": self.code,
                "message": self.message,
                "reason": "Invalid" if self.code == 422 else "Forbidden",
            }
        if self.patch:
            said["patchType"] = "JSONPatch"
            said["patch"] = base64.b64encode(json.dumps(self.patch).encode()).decode()
        if self.warnings:
            said["warnings"] = [_short(each) for each in self.warnings[:WARNINGS]]
        return {"apiVersion": VERSION, "kind": KIND, "response": said}


Handler: TypeAlias = Callable[[Object], Awaitable[Answer]]
"""Answers the `request` of a review (`operation`, `object`, `oldObject`, `namespace`, `userInfo`, …). What it raises is told by the server,
and the API server does as its `failurePolicy` says."""


def request_of(review: object) -> tuple[str, Object]:
    """The review's uid and its request. NotAReview."""
    if not isinstance(review, dict) or (review.get("apiVersion"), review.get("kind")) != (VERSION, KIND):
        raise NotAReview(f"this is not a {KIND} of {VERSION}")
    request = review.get("request")
    uid = request.get("uid") if isinstance(request, dict) else None
    if not isinstance(request, dict) or not isinstance(uid, str) or not uid:
        raise NotAReview(f"the {KIND} has no request with a uid")
    return uid, request


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_WARNING else f"{text[: LONGEST_WARNING - 1]}…"
