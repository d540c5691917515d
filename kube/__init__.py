"""The Kubernetes API as Meshwright speaks it: requests, reflectors, leader election. Knows nothing of meshes.

`resource` names what is asked for, `client` asks one API server (`Cluster`), `following` decides what to list and watch
next (pure), `reflector` does it, `election` decides who leads (pure), `lease` does it. Objects are plain JSON values.
"""
