"""Where work is done: in this process, or by processes on the machines of a Ray cluster."""

from jaxnas.engine.here import Crew as Crew
from jaxnas.engine.here import Here as Here
from jaxnas.engine.here import Task as Task
from jaxnas.engine.here import halved as halved
from jaxnas.engine.named import Hire as Hire
from jaxnas.engine.named import named as named
