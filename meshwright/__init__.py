"""The program: settings, the composition root, the pipeline from events to resources, and the command line."""
