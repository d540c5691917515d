"""What becomes of a request: the mesh's own configuration, read as Envoy reads it. Nothing is sent, and nobody is asked."""
