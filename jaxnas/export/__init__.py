"""One architecture with its weights, to take away: as a Flax module, StableHLO, ONNX or PyTorch."""

from jaxnas.export.formats import FORMATS as FORMATS
from jaxnas.export.formats import write as write
from jaxnas.export.winner import Winner as Winner
