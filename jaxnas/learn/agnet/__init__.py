"""AG-Net: a generator of architectures with a surrogate (Lukasik et al., ECCV 2022)."""
