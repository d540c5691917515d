"""The demo: a whole mesh on loopback, from one command."""
