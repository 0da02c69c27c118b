"""Images and labels: synthetic ones, TensorFlow Datasets without TensorFlow, or an .npz file."""

from jaxnas.data.images import Source as Source
from jaxnas.data.images import load as load
