"""The mathematics of the scores: convolutions, Gram matrices, spectra, activation patterns.

Knows neither spaces nor networks; imports only jax and numpy.
"""
