"""The cases, as data: scorers at the settings that users get, command lines as users run them, and curves."""

from functools import partial

from bench.core.case import Case
from bench.core.commands import CommandCase
from bench.core.curves import CurveCase
from bench.scorers.case import Loop, ScorerCase, ntk_loop, regions_loop, regression_loop
from jaxnas.scorers import NTK, Regions, Regression

TE_NAS: dict[str, Loop] = {"TE-NAS loop": partial(ntk_loop, bn="batch")}
FROZEN: dict[str, Loop] = {"frozen loop": partial(ntk_loop, bn="frozen")}
GEN_NAS: dict[str, Loop] = {"GenNAS loop": regression_loop}
THIN_GEN_NAS: dict[str, Loop] = {"GenNAS loop": partial(regression_loop, channels=4, cells=3)}
BOTH = ("--scorers", "ntk,regions")

SPACE_FROZEN = CommandCase("space_frozen", "ntk frozen and regions, a whole space", "jaxnas.score", BOTH, "all")
SPACE_EXACT = CommandCase(
    "space_exact", "ntk exact and regions, a whole space", "jaxnas.score", (*BOTH, "--ntk.bn", "batch"), "all"
)
PRUNING = ("--method", "prune", "--ntk.bn", "frozen")
PRUNE_FROZEN = CommandCase(
    "prune_frozen", "search by pruning, ntk frozen", "jaxnas.search", PRUNING, runs=("cold", "warm"), rounds=3
)
CASES: dict[str, Case] = {
    case.name: case
    for case in (
        ScorerCase(
            "ntk_frozen", "NTK, batch statistics held constant; C=3, N=1, B=72", NTK(), 16, TE_NAS | FROZEN, "highest"
        ),
        ScorerCase(
            "ntk_exact", "NTK through the batch statistics; C=3, N=1, B=72", NTK(bn="batch"), 16, TE_NAS, "highest"
        ),
        ScorerCase("regions", "linear regions; 3 batches of 1,000", Regions(), 256, {"TE-NAS loop": regions_loop}),
        ScorerCase(
            "regression_thin",
            "GenNAS; C=4, N=3, B=16, 50 steps",
            Regression(width=4, cells=3, steps=50),
            16,
            THIN_GEN_NAS,
        ),
        ScorerCase("regression", "GenNAS; C=16, N=5, B=16, 100 steps", Regression(fidelity="published"), 6, GEN_NAS),
        SPACE_FROZEN,
        SPACE_EXACT,
        PRUNE_FROZEN,
        CurveCase(
            "curves",
            "cost by number of architectures and by batch, and where the time of space_frozen goes",
            {"ntk frozen": NTK(), "regions": Regions()},
            SPACE_FROZEN,
        ),
    )
}
