"""The hash by which NAS-Bench-101 (Ying et al., ICML 2019) names its modules, equal for isomorphic ones."""

import hashlib
from collections.abc import Iterable, Sequence
from itertools import repeat

_EMPTY = hashlib.md5(usedforsecurity=False)  # copied, because making one takes longer than hashing a short text


def module_hashes(sources: Sequence[Sequence[int]], labels: Sequence[Sequence[int]]) -> list[str]:
    """The hash of each labelling of one graph, as hexadecimal digits.

    A vertex starts as the MD5 of its out-degree, in-degree and label. As many times as there are vertices, it becomes
    the MD5 of its sources' hashes, its targets' (both sorted) and its own. The sorted list of them is the graph's.

    Args:
      sources: the vertices from which edges lead to each vertex.
      labels: for each vertex, its label in every labelling; the benchmark gives -1 to the input, -2 to the output.
    """
    vertices = range(len(sources))
    targets = [[y for y in vertices if x in sources[y]] for x in vertices]
    hashes = [
        [_md5(str((len(after), len(before), label))) for label in own]
        for after, before, own in zip(targets, sources, labels, strict=True)
    ]
    for _ in vertices:
        hashes = [
            list(map(_md5, map("|".join, zip(_sorted(hashes, before), _sorted(hashes, after), own, strict=False))))
            for before, after, own in zip(sources, targets, hashes, strict=True)
        ]
    return [_md5(str(sorted(together))) for together in zip(*hashes, strict=True)]


def _sorted(hashes: list[list[str]], vertices: Sequence[int]) -> Iterable[str]:
    """Return, for each labelling, the sorted hashes of some vertices as one string; without end if there are none."""
    if not vertices:
        return repeat("")
    if len(vertices) == 1:
        return hashes[vertices[0]]
    return map("".join, map(sorted, zip(*[hashes[v] for v in vertices], strict=True)))


def _md5(text: str) -> str:
    md5 = _EMPTY.copy()
    md5.update(text.encode())
    return md5.hexdigest()
