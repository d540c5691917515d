"""A pod with a sidecar. Pure: manifests in, manifests and JSON patches out."""
