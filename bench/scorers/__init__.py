"""Cases that time one scorer beside the PyTorch loop."""
