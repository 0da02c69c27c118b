"""Scores that a short training gives: regression of synthetic signals."""
