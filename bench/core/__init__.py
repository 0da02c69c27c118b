"""How a case is described, timed and drawn."""
