"""What the log of the conformance suite says is what the table says."""

from __future__ import annotations

from scripts.kubernetes.conformance.results import Suite, read_log, table

LISTED = {
    "profiles": {
        "MESH-HTTP": {"core": ["HTTPRoute", "Mesh"], "extended": ["MeshHTTPRouteRewritePath"]},
        "MESH-GRPC": {"core": ["GRPCRoute", "Mesh"], "extended": []},
        "GATEWAY-HTTP": {"core": ["Gateway", "HTTPRoute"], "extended": []},
        "GATEWAY-GRPC": {"core": ["Gateway", "GRPCRoute"], "extended": []},
        "GATEWAY-TLS": {"core": ["Gateway", "TLSRoute"], "extended": []},
    },
    "tests": [
        {"name": "MeshBasic", "features": ["Mesh"]},
        {"name": "MeshHTTPRouteRewritePath", "features": ["Mesh", "HTTPRoute", "MeshHTTPRouteRewritePath"]},
        {"name": "MeshPorts", "features": ["Mesh", "HTTPRoute", "HTTPRouteParentRefPort"]},
        {"name": "HTTPRouteWeight", "features": ["Gateway", "HTTPRoute"]},
    ],
}
LOG = """\
=== RUN   TestConformance/MeshHTTPRouteRewritePath
=== RUN   TestConformance/MeshHTTPRouteRewritePath/1_request
    apply.go:275: Creating rewrite HTTPRoute
    mesh.go:90:
            Error Trace:    /x/echo.go:142
            Error:          Received unexpected error:
                            context deadline exceeded
            Messages:       error making request | never consistent
--- FAIL: TestConformance (3.00s)
    --- PASS: TestConformance/MeshBasic (0.42s)
    --- FAIL: TestConformance/MeshHTTPRouteRewritePath (2.10s)
        --- FAIL: TestConformance/MeshHTTPRouteRewritePath/1_request (2.00s)
    --- SKIP: TestConformance/MeshPorts (0.00s)
"""


def test_results_are_those_of_the_tests_at_the_top() -> None:
    results = read_log(LOG, "mesh")
    assert {name: each.outcome for name, each in results.items()} == {
        "MeshBasic": "PASS",
        "MeshHTTPRouteRewritePath": "FAIL",
        "MeshPorts": "SKIP",
    }
    assert results["MeshHTTPRouteRewritePath"].why == [
        "Received unexpected error:",
        "error making request | never consistent",
    ]


def test_the_table_counts_by_profile_and_names_what_did_not_pass() -> None:
    said = table(Suite.read(LISTED), read_log(LOG, "mesh"))
    assert "| MESH-HTTP | 1 of 1 | 0 of 1 |" in said
    assert "| MESH-GRPC | 1 of 1 | none |" in said
    assert "| GATEWAY-HTTP | not run (1) | none |" in said
    assert "| mesh, tests of no profile | 0 of 1 | |" in said
    assert "error making request \\| never consistent" in said
    assert "MeshBasic" not in said
