"""Staged rollouts: a change goes to some proxies first, and to the others once it does well there."""
