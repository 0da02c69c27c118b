"""What `jaxnas tables` does: a module for each of its verbs."""
