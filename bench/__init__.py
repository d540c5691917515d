"""Meshwright's speed beside its peers: `make bench`. See README.md."""
