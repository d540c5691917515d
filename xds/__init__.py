"""A complete xDS server (https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol) that knows no mesh.

A resource is a type, a name, a version and bytes; resources live in scopes; a stream is given a tuple of scopes.

    cache = ResourceCache()
    cache.publish([ScopeChange("everyone", put=(encode(CLUSTER, "api", cluster.SerializeToString()),))])
    cache.open()
    server = grpc.aio.server(options=server_options(XdsSettings()))
    XdsServer(cache, identify, XdsSettings()).add_to(server)

The cache and the sessions (`sotw`, `delta`) are sans-I/O: no event loop, no clock. `stream` is the thin shell.
"""
