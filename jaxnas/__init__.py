"""jaxnas: training-free scores of neural architectures, computed in compiled batches."""

from jaxnas import data as data
from jaxnas import scorers as scorers
from jaxnas import spaces as spaces
from jaxnas.errors import UserError as UserError
from jaxnas.runner import Evaluator as Evaluator
from jaxnas.types import Score as Score
from jaxnas.types import Status as Status
