"""Where documents are kept: for now a directory of YAML files, read and watched, never written."""
