"""Documents of routes, said briefly: `route("http", "backendRefs: [...]")`."""

from __future__ import annotations

import textwrap

API_VERSION = "gateway.networking.k8s.io/v1"


def route(
    *rules: str,
    kind: str = "HTTPRoute",
    name: str = "r",
    namespace: str = "default",
    parent: str = "name: api",
    gateway: str = "",
    created: str = "",
) -> str:
    """A document that begins with `---`. `rules` are YAML mappings; `parent` is what follows the kind of the one parentRef, a Service,
    or `gateway` what follows that of a Gateway instead.
    """
    at = f"kind: Gateway, {gateway}" if gateway else f'group: "", kind: Service, {parent}'
    age = f", creationTimestamp: {created}" if created else ""
    said = "".join(
        f"\n  - {textwrap.indent(textwrap.dedent(each).strip(), '    ').strip()}" for each in rules
    )
    return f"""
---
apiVersion: {API_VERSION}
kind: {kind}
metadata: {{name: {name}, namespace: {namespace}{age}}}
spec:
  parentRefs: [{{{at}}}]
  rules:{said}
"""


def subset(version: str, service: str = "api") -> str:
    """ServiceSubset `<service>-<version>`: the workloads with that label."""
    return f"""
---
apiVersion: meshwright.dev/v1alpha1
kind: ServiceSubset
metadata: {{name: {service}-{version}}}
spec: {{service: {service}, labels: {{version: {version}}}}}
"""


def to(service: str, weight: int = 1, more: str = "") -> str:
    """A backend, as YAML: port 80 of a service, or of a subset where the name ends in `-v1` or `-v2`."""
    kind = "group: meshwright.dev, kind: ServiceSubset, " if service.endswith(("-v1", "-v2")) else ""
    more = f", {more}" if more else ""
    return f"{{{kind}name: {service}, port: 80, weight: {weight}{more}}}"


def grant(namespace: str, of: str = "default", kind: str = "HTTPRoute") -> str:
    """Documents of `kind` in `of` may refer to services of `namespace`."""
    return f"""
---
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {{name: g, namespace: {namespace}}}
spec:
  from: [{{group: gateway.networking.k8s.io, kind: {kind}, namespace: {of}}}]
  to: [{{group: "", kind: Service}}]
"""
