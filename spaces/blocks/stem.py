"""What is around cells: images, classes, and the stem's convolutions."""

from dataclasses import dataclass, replace

from jaxnas.network.network import Config
from jaxnas.network.ops import ConvNorm
from jaxnas.spaces.blocks.parts import BOTH, Conv


@dataclass(frozen=True)
class Frame:
    """What is around the cells.

    The first cell's inputs are the outputs of the stem's last two convolutions, or twice that of its only one.

    Attributes:
      image: height and width of the input.
      classes: number of logits.
      stem: outputs of its 3x3 convolutions, in halves of the width; all but the first begin with a ReLU.
      stride: of each of them.
    """

    image: int
    classes: int
    stem: tuple[int, ...]
    stride: int

    @property
    def parts(self) -> list[Conv]:
        """The stem's convolutions."""
        first = Conv((3, 3), BOTH, norm=True)
        return [first, *[replace(first, relu=True)] * (len(self.stem) - 1)]


def stem_ops(frame: Frame, config: Config) -> list[ConvNorm]:
    """The stem's convolutions."""
    ops, inputs = [], config.image[2]
    for i, halves in enumerate(frame.stem):
        outputs = config.channels * halves // 2
        ops.append(ConvNorm(inputs, outputs, 3, config.layout, stride=frame.stride, relu=i > 0, bn=config.bn))
        inputs = outputs
    return ops
