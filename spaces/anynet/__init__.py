"""The AnyNets of NDS."""
