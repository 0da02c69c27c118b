"""Scores that gradients give."""
