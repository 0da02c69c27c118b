"""jaxnas: training-free scores of neural architectures, computed in compiled batches."""
