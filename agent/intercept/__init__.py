"""Interception: a host's TCP goes through its sidecar, and its applications know nothing of it (docs/interception.md)."""
