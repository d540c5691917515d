"""What runs beside a workload: joining the mesh, renewing its certificate, and Envoy's process."""
