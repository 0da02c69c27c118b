"""Scores of networks of infinite width, by the package neural-tangents."""
