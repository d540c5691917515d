"""A real Kubernetes for tests: the cluster, what is applied to it, what runs in it."""
