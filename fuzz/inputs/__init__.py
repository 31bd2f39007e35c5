"""A case's tensors, with poison and guards around what is alive."""
