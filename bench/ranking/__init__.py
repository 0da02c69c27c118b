"""How well every score ranks every space whose architectures were trained."""
