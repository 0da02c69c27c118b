"""The small commands of `jaxnas`, a file each: they look at what there is, and score nothing."""
