"""The certificate authority: certificates for workloads and for the control plane, joining, trust bundles, SDS secrets."""
