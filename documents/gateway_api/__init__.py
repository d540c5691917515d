"""Routing as users write it: the Kubernetes Gateway API's own kinds, one file for each.

Limits and rules are those of the API's definitions, experimental channel included
(https://gateway-api.sigs.k8s.io/reference/spec/). What it leaves to implementations and we do not have is refused with
the way out, never ignored.
"""
