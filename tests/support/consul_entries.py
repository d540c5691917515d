"""Elements of `health/service/<name>` as Consul writes them."""

from __future__ import annotations


def an_entry(
    ident: str = "api-1",
    service: str = "api",
    *,
    node: str = "n1",
    node_address: str = "10.0.0.1",
    node_meta: dict[str, str] | None = None,
    address: str = "",
    port: int = 8080,
    age: int = 10,
    checks: tuple[str, ...] = ("passing",),
    weights: tuple[int, int] | None = (1, 1),
    tags: list[str] | None = None,
    meta: dict[str, str] | None = None,
    **fields: object,
) -> dict[str, object]:
    """`checks` are statuses; `age` is the CreateIndex; other `fields` are the instance's."""
    instance: dict[str, object] = {
        "ID": ident,
        "Service": service,
        "Tags": tags,
        "Address": address,
        "Port": port,
        "Meta": meta,
        "CreateIndex": age,
        "ModifyIndex": age,
        **fields,
    }
    if weights is not None:
        instance["Weights"] = {"Passing": weights[0], "Warning": weights[1]}
    return {
        "Node": {"Node": node, "Address": node_address, "Meta": node_meta, "ModifyIndex": 1},
        "Service": instance,
        "Checks": [
            {"Node": node, "CheckID": f"c{place}", "Name": "c", "Status": status, "ServiceName": service}
            for place, status in enumerate(checks)
        ],
    }
