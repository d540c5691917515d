"""One file for each kind of policy: its schema, its checks, and what it does to what Envoy is given."""
