"""The data sets that benchmarks trained their networks on: they decide what is counted and built, not the scores."""

from collections.abc import Mapping
from typing import NamedTuple


class Dataset(NamedTuple):
    """A data set.

    Attributes:
      title: as people write it.
      image: (height, width, channels) of what the networks see.
      classes: number of logits.
    """

    title: str
    image: tuple[int, int, int]
    classes: int

    def __str__(self) -> str:
        return f"{self.title} ({'x'.join(map(str, self.image))}, {self.classes:,} classes)"


CIFAR10 = Dataset("CIFAR-10", (32, 32, 3), 10)
NATS_BENCH: Mapping[str, Dataset] = {
    "cifar10": CIFAR10,
    "cifar100": Dataset("CIFAR-100", (32, 32, 3), 100),
    "imagenet16-120": Dataset("ImageNet16-120", (16, 16, 3), 120),
}
TRANSNAS: Mapping[str, Dataset] = {  # tasks of one image set; the others have decoders that are not built here
    "class_object": Dataset("object classification", (256, 256, 3), 75),
    "class_scene": Dataset("scene classification", (256, 256, 3), 47),
}
NDS: Mapping[str, Dataset] = {"imagenet": Dataset("ImageNet", (224, 224, 3), 1000), "cifar10": CIFAR10}
