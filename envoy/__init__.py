"""What Envoy is told: frozen values of the mesh in, Envoy's own v3 messages out.

Everything here is a function of its arguments but `install`, `launcher` and `admin`, which install, start and question real
Envoys. Begin
with `render.Renderer`. `clusters`, `endpoints`, `routes`, `scopes` and `listeners` make one kind of resource each.
"""
