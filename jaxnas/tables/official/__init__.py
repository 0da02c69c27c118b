"""Benchmarks' own files of measured values, read without the benchmarks' code."""
