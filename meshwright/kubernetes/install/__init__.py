"""What `meshwright install` prints: one list of objects, of which the Kustomize base and the Helm chart are made as well."""
