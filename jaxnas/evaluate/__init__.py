"""From networks and scorers to values: compiled programs, batches of architectures, devices."""
