"""The shell of Meshwright on Kubernetes: install, webhooks, controllers, statuses."""
