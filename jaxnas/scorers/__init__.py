"""The scores, by name; and the functions that score any model, to be called from your own JAX code."""

from jaxnas.scorers.consensus import Consensus as Consensus
from jaxnas.scorers.counts import Flops as Flops
from jaxnas.scorers.counts import LiveFlops as LiveFlops
from jaxnas.scorers.counts import LiveLayers as LiveLayers
from jaxnas.scorers.counts import LiveParams as LiveParams
from jaxnas.scorers.counts import Params as Params
from jaxnas.scorers.forward.regions import Regions as Regions
from jaxnas.scorers.forward.regions import regions as regions
from jaxnas.scorers.gradient.jacov import Jacov as Jacov
from jaxnas.scorers.gradient.jacov import jacov as jacov
from jaxnas.scorers.gradient.ntk import NTK as NTK
from jaxnas.scorers.gradient.ntk import ntk as ntk
from jaxnas.scorers.gradient.ntk import ntk_gram as ntk_gram
from jaxnas.scorers.protocol import AnyScore as AnyScore
from jaxnas.scorers.protocol import Combined as Combined
from jaxnas.scorers.protocol import Count as Count
from jaxnas.scorers.protocol import Pass as Pass
from jaxnas.scorers.protocol import Scorer as Scorer
from jaxnas.scorers.registry import COUNTS as COUNTS
from jaxnas.scorers.registry import DEFAULTS as DEFAULTS
from jaxnas.scorers.registry import select as select
from jaxnas.scorers.te_nas import TeNas as TeNas
from jaxnas.scorers.training.regression import Regression as Regression
from jaxnas.scorers.training.regression import regression as regression
from jaxnas.scorers.training.sequence import Sequences as Sequences
from jaxnas.scorers.training.sequence import sequence_regression as sequence_regression
