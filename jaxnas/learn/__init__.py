"""Models that learn from architectures, and from a few that were evaluated."""
