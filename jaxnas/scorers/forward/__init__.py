"""Scores that a forward pass gives."""
