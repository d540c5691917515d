"""What proves to this control plane who a proxy is, as the settings say."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import structlog

from ca.jwks import FileSource, KeySet, UrlSource
from ca.proof import Proof
from ca.proof_consul import ConsulProof, Registered
from ca.proof_jwt import Issuer, JwtProof, Subjects
from ca.proof_token import TokenProof
from ca.times import Clock
from ca.tokens import TokenStore
from kube.client import Cluster
from mesh.names import Key
from mesh.state import MeshState
from meshwright.kubernetes.tokens import token_proof
from meshwright.settings import Settings
from meshwright.settings_groups import IssuerSettings, SubjectSettings

log = structlog.get_logger(__name__)


def proofs(
    settings: Settings,
    data_dir: Path,
    clock: Clock,
    state: Callable[[], MeshState],
    clusters: Mapping[str, Cluster],
) -> dict[str, Proof]:
    """By the name of their field in JoinRequest. Join tokens always; the others where they are set up. `clusters`: of Kubernetes, by name."""
    found: dict[str, Proof] = {"join_token": TokenProof(TokenStore(data_dir), clock)}
    if settings.join_issuers:
        _warn_of_any_workload(settings.join_issuers)
        found["jwt"] = JwtProof([_issuer(each) for each in settings.join_issuers], clock)
    consul = settings.consul
    if consul is not None and consul.join_namespaces:
        name = consul.name
        found["consul_token"] = ConsulProof(
            consul.url,
            consul.join_namespaces,
            lambda workload: _registered(state(), name, workload),
            ca_file=consul.ca_file,
        )
    if settings.kubernetes is not None:
        found["kubernetes_token"] = token_proof(clusters, settings.kubernetes, clock, time.monotonic)
    return found


def _warn_of_any_workload(issuers: Iterable[IssuerSettings]) -> None:
    for issuer in issuers:
        for subjects in issuer.subjects:
            if subjects.workload_claim is None:
                log.warning(
                    "a token of these subjects is good for any workload of its service account: set workload_claim to the claim that "
                    "names the workload, if the issuer has one",
                    setting="join_issuers",
                    issuer=issuer.issuer,
                    subject=subjects.subject,
                )


def _issuer(settings: IssuerSettings) -> Issuer:
    source = (
        UrlSource(settings.issuer, settings.jwks_url, settings.ca_file, settings.token_file)
        if settings.jwks_file is None
        else FileSource(settings.jwks_file)
    )
    return Issuer(
        settings.issuer,
        settings.audiences,
        tuple(map(_subjects, settings.subjects)),
        KeySet(settings.issuer, source, time.monotonic),
    )


def _subjects(settings: SubjectSettings) -> Subjects:
    claim = settings.workload_claim
    return Subjects(
        settings.subject,
        settings.namespace,
        settings.service_account,
        tuple(claim.split("/")) if claim else (),
    )


def _registered(state: MeshState, source: str, workload: Key) -> Registered | None:
    """As Consul itself has it: another source may not borrow the names of Consul's services."""
    if state.workload_owner(workload) != source:
        return None
    found = state.workloads.get(workload)
    if found is None:
        return None
    return Registered(frozenset(service.name for service in found.services), found.service_account)
