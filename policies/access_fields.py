"""What an AccessPolicy says: the models of its fields."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field, model_validator

from documents.envelope import Namespace, Part, ServiceName, wrong
from documents.service import ServiceAccount
from policies.access_patterns import (
    AccountPattern,
    ClaimName,
    GrpcMethod,
    GrpcService,
    HostPattern,
    IdentityPattern,
    MethodName,
    Network,
    Path,
    PortRef,
    ServicePattern,
    TrustDomain,
    Value,
)
from policies.matching import HeaderName

MOST = 256
NO_CONDITIONS = {":authority", "host", "x-forwarded-client-cert"}
"""Headers that no condition may name: there are fields for what they say."""


class CallerFields(Part):
    """Callers who meet every condition given. Who they are is what their certificate proves; no header is believed."""

    identity: IdentityPattern | None = Field(
        None,
        description="Their SPIFFE id. With `*` at its end every id that begins so. By default all.",
    )
    trust_domain: TrustDomain | None = Field(
        None,
        description="Theirs. By default the mesh's own, for `namespace`, `service` and `serviceAccount`.",
    )
    namespace: Namespace | None = Field(
        None,
        description="Theirs. By default all; for `service` and `serviceAccount`, the policy's own.",
    )
    service: ServiceName | None = Field(
        None,
        description="Workloads that serve it: callers who have one of their identities, so whoever else has the same service account, too.",
    )
    service_account: ServiceAccount | None = Field(None, description="Theirs. By default all.")
    any_mesh_identity: bool | None = Field(
        None,
        description="True: whoever proved an identity of the mesh's trust domain. False: whoever did not, as callers in plaintext. By default "
        "not asked.",
    )
    ip_blocks: list[Network] | None = Field(
        None,
        min_length=1,
        max_length=MOST,
        description="The address that the connection comes from is in one of these blocks (CIDR). It is that of the direct peer, "
        "whatever headers say of others before it. By default all.",
    )
    not_identities: list[IdentityPattern] | None = Field(
        None, min_length=1, max_length=MOST, description="Their SPIFFE id is none of these. By default none."
    )
    not_trust_domains: list[TrustDomain] | None = Field(
        None,
        min_length=1,
        max_length=MOST,
        description="Their trust domain is none of these. By default none.",
    )
    not_namespaces: list[Namespace] | None = Field(
        None, min_length=1, max_length=MOST, description="Their namespace is none of these. By default none."
    )
    not_services: list[ServicePattern] | None = Field(
        None,
        min_length=1,
        max_length=MOST,
        description="They serve none of these: `<service>` of the policy's own namespace, or `<namespace>/<service>`. By default none.",
    )
    not_service_accounts: list[AccountPattern] | None = Field(
        None,
        min_length=1,
        max_length=MOST,
        description="Their account is none of these: `<account>` of the policy's own namespace, or `<namespace>/<account>`. By default none.",
    )
    not_ip_blocks: list[Network] | None = Field(
        None,
        min_length=1,
        max_length=MOST,
        description="The connection comes from none of these blocks. By default none.",
    )

    @model_validator(mode="after")
    def _said(self) -> CallerFields:
        if not self.model_fields_set:
            raise wrong(
                "a caller without any condition is everyone", "Remove from, or write anyMeshIdentity: true"
            )
        if self.service is not None and self.service_account is not None:
            raise wrong(
                "both service and serviceAccount name identities", "Keep one, or make two entries of them"
            )
        named = (self.namespace, self.service, self.service_account, self.trust_domain)
        if self.identity is not None and any(each is not None for each in named):
            raise wrong("identity says the rest, too", "Keep identity alone, or leave it out")
        if self.service is not None and self.trust_domain is not None:
            raise wrong(
                "services of another trust domain are not known here", "Name their serviceAccount instead"
            )
        return self


class GrpcFields(Part):
    service: GrpcService = Field(description="The full name of the service, as `shop.v1.Cart`.")
    method: GrpcMethod | None = Field(None, description="One of its methods. By default all.")


class RequestFields(Part):
    """Connections and requests that meet every condition given; of several values of one, one must hold."""

    ports: list[PortRef] | None = Field(
        None,
        min_length=1,
        max_length=MOST,
        description="The port of the service that is called, by number or name; of a gateway, by number. By default all.",
    )
    not_ports: list[PortRef] | None = Field(
        None, min_length=1, max_length=MOST, description="The port is none of these. By default none."
    )
    methods: list[MethodName] | None = Field(
        None,
        min_length=1,
        max_length=MOST,
        description="The method of the request, in capitals. By default all.",
    )
    not_methods: list[MethodName] | None = Field(
        None, min_length=1, max_length=MOST, description="The method is none of these. By default none."
    )
    paths: list[Path] | None = Field(
        None,
        min_length=1,
        max_length=MOST,
        description="The path of the request, normalised, without the query: `/items` is that path alone, `/items/*` every one that begins with "
        "`/items/`, `*.css` every one that ends so, `/users/{*}/orders` has any one segment in the place of `{*}`, and `{**}` stands for any "
        "number of them. By default all.",
    )
    not_paths: list[Path] | None = Field(
        None, min_length=1, max_length=MOST, description="The path is none of these. By default none."
    )
    hosts: list[HostPattern] | None = Field(
        None,
        min_length=1,
        max_length=MOST,
        description="The host that the caller says it asks (`:authority`, `Host`), in any case, with any port unless one is given; "
        "`*.example.com` is every name below. By default all.",
    )
    not_hosts: list[HostPattern] | None = Field(
        None, min_length=1, max_length=MOST, description="The host is none of these. By default none."
    )
    grpc: list[GrpcFields] | None = Field(
        None,
        min_length=1,
        max_length=MOST,
        description="The gRPC method that is called. Not together with `methods` and `paths`, which are what it comes to. By default all.",
    )

    @model_validator(mode="after")
    def _said(self) -> RequestFields:
        if not self.model_fields_set:
            raise wrong("an entry without any condition means every request", "Remove it, or the whole of to")
        if self.grpc is not None and (self.methods is not None or self.paths is not None):
            raise wrong("grpc says method and path already", "Remove methods and paths")
        return self


class WhenFields(Part):
    """A condition on a header or on a claim of the token that RequestAuthentication verified."""

    header: HeaderName | None = Field(
        None, description="The name of a header; upper and lower case are the same. For hosts there is `to`."
    )
    claim: ClaimName | None = Field(
        None,
        description="The name of a claim; of a nested one, the names that lead to it with dots between, or as a list where a name has a dot "
        "itself.",
    )
    values: list[Value] | None = Field(
        None,
        min_length=1,
        max_length=MOST,
        description="It says one of these, or is a list that has one of them; of the claim `scope`, a word of it. A `*` stands at the end or at the "
        "beginning; alone, for anything at all. By default it must be there.",
    )
    not_values: list[Value] | None = Field(
        None, min_length=1, max_length=MOST, description="It says none of these. By default none."
    )

    @model_validator(mode="after")
    def _one(self) -> WhenFields:
        if (self.header is None) == (self.claim is None):
            raise wrong("a condition names either a header or a claim", "Give one of header and claim")
        if self.header in NO_CONDITIONS:
            place = "to: [{hosts: …}]" if self.header != "x-forwarded-client-cert" else "from"
            raise wrong(f"{self.header} is not for conditions on headers", f"Use {place}")
        if self.header is not None:
            for each in (*(self.values or ()), *(self.not_values or ())):
                if not isinstance(each, str):
                    raise wrong(
                        f"a header says text, not {str(each).lower()}",
                        f'Put it in quotes: "{str(each).lower()}"',
                    )
        return self

    def steps(self) -> tuple[str, ...]:
        """The names that lead to the claim."""
        if isinstance(self.claim, str):
            return tuple(self.claim.split("."))
        return tuple(self.claim) if self.claim is not None else ()


class RuleFields(Part):
    """A rule applies where its three parts do. One that has none applies to everything."""

    from_: list[CallerFields] | None = Field(
        None,
        alias="from",
        min_length=1,
        max_length=MOST,
        description="Who calls: one of these. By default everyone.",
    )
    to: list[RequestFields] | None = Field(
        None,
        min_length=1,
        max_length=MOST,
        description="What is called: one of these. By default everything.",
    )
    when: list[WhenFields] | None = Field(
        None, min_length=1, max_length=MOST, description="Conditions that must all hold. By default none."
    )

    @property
    def asks_requests(self) -> bool:
        """Whether it has a condition that only HTTP requests can meet."""
        return bool(self.when) or any(asks_requests(each) for each in self.to or ())


class AccessFields(Part):
    action: Literal["allow", "deny", "audit"] | None = Field(
        None,
        description="What becomes of that to which a rule applies. `allow`: it is let in, and where there is any such policy, nothing else "
        "is. `deny`: it is refused, whatever others allow. `audit`: it is marked in the access log and counted; it is neither let "
        "in nor refused.",
    )
    default: Literal["deny"] | None = Field(
        None,
        description="Instead of `action` and `rules`: `deny` lets in only what some policy allows. The switch for the mesh, a namespace, a "
        "service or a workload.",
    )
    rules: list[RuleFields] | None = Field(
        None,
        min_length=1,
        max_length=MOST,
        description="The policy applies where one of these does. `[{}]` applies to everything.",
    )
    dry_run: bool | None = Field(
        None,
        description="True: nothing is refused; what would be is counted and marked in the access log. By default false.",
    )


def asks_requests(entry: RequestFields) -> bool:
    """Whether `entry` of `to` has a condition on requests, not on ports alone."""
    return bool(entry.model_fields_set - {"ports", "not_ports"})


def services(fields: AccessFields) -> Iterator[tuple[str | None, str]]:
    """The namespace, None for the policy's own, and the name of every service that rules name as callers."""
    for rule in fields.rules or ():
        for caller in rule.from_ or ():
            if caller.service is not None:
                yield caller.namespace, caller.service
            for each in caller.not_services or ():
                namespace, slash, name = each.partition("/")
                yield (namespace, name) if slash else (None, each)
