"""What happens when an Envoy refuses what a document made: the document is set aside for whom it concerns, and all else goes on."""
