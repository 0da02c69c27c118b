"""The small commands of `jaxnas`, a file each: they look at what there is or write it down.

Only `latency` measures, and `merge --verify` scores a few architectures again.
"""
