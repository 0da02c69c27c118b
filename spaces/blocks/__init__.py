"""Layers that several families of spaces are made of."""
