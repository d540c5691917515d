"""What a change would do before it is made: documents, resources for each proxy, warnings."""
