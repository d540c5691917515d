"""The domain: services, workloads, identities, targeting and the state of the mesh.

Frozen values and functions of their arguments. Nothing here does I/O, reads a clock or knows Envoy.
"""
