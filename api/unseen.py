"""Answers about proxies where there are several control planes: they say that they are not about all."""

from __future__ import annotations

from typing import Final

HEADER: Final = "Meshwright-Unseen"
"""What an answer leaves out, in words."""
OF_PROXIES: Final = frozenset(
    {
        "GET /api/v1/analyze",
        "GET /api/v1/logs/{namespace}/{workload}",
        "GET /api/v1/plaintext",
        "GET /api/v1/proxies",
        "GET /api/v1/proxies/{namespace}/{workload}",
        "GET /api/v1/proxies/{namespace}/{workload}/config-dump",
        "GET /api/v1/status",
        "GET /api/v1/top",
        "GET /api/v1/workloads",
        "POST /api/v1/explain",
        "POST /api/v1/plan",
    }
)
"""The routes, by name, that tell of proxies which are connected to the control plane that is asked."""
