"""The kinds that documents may have. Whoever reads documents is handed such a tuple, so that policies can join it."""

from __future__ import annotations

from documents.envelope import API_VERSION, Kind
from documents.service import ServiceDocument
from documents.workload import WorkloadDocument

SERVICE = Kind(API_VERSION, "Service", ServiceDocument)
WORKLOAD = Kind(API_VERSION, "Workload", WorkloadDocument)

KINDS: tuple[Kind, ...] = (SERVICE, WORKLOAD)
