"""Spaces that differ in the ops on the edges of one cell."""
