"""Tables on the disk: run directories, tables with a name, and files of architectures and measured values of users."""

from jaxnas.tables.named import available as available
from jaxnas.tables.named import load as load
