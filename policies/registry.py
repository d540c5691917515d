"""All kinds of policies. The order in which their parts are laid down is this one; HTTP filters have an order of their own."""

from __future__ import annotations

from documents.envelope import Kind
from documents.kinds import KINDS as DOCUMENT_KINDS
from policies import (
    access,
    access_log,
    buffering,
    circuit_breaker,
    compression,
    concurrency,
    connection_limit,
    egress,
    envoy_patch,
    extension,
    external_authorization,
    fault_injection,
    health_check,
    load_balancing,
    mesh_tls,
    metrics,
    outlier_detection,
    rate_limit,
    request_authentication,
    retry,
    rollout,
    timeout,
    tracing,
)
from policies.kind import PolicyKind

POLICIES: tuple[PolicyKind, ...] = (
    access.KIND,
    access_log.KIND,
    buffering.KIND,
    compression.KIND,
    concurrency.KIND,
    connection_limit.KIND,
    egress.KIND,
    envoy_patch.KIND,
    extension.KIND,
    external_authorization.KIND,
    fault_injection.KIND,
    circuit_breaker.KIND,
    health_check.KIND,
    load_balancing.KIND,
    mesh_tls.KIND,
    metrics.KIND,
    outlier_detection.KIND,
    rate_limit.KIND,
    request_authentication.KIND,
    timeout.KIND,
    retry.KIND,
    tracing.KIND,
)

KINDS: tuple[Kind, ...] = (*DOCUMENT_KINDS, rollout.KIND, *(each.as_document() for each in POLICIES))
"""Every kind that a document may have."""
