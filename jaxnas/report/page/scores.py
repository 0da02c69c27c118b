"""The tab of a space whose architectures have scores."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from jaxnas.correlate.comparison import Compared, Comparison, against
from jaxnas.correlate.pairs import Pair
from jaxnas.correlate.report import number, with_interval
from jaxnas.correlate.seeds import Range
from jaxnas.correlate.sources import BASELINES, Scores, read_sources
from jaxnas.ranks import Floats, midranks, ordering, spearman_rho
from jaxnas.report.axes import CLIP, of_target
from jaxnas.report.page import specs
from jaxnas.report.page.cells import drawing
from jaxnas.report.page.redo import cost, redo
from jaxnas.report.page.specs import Axis, Field
from jaxnas.report.page.tab import Section, Tab, escaped, figure, html_table, short
from jaxnas.tables.runs import Run
from jaxnas.types import Status

MOST = 20_000  # rows up to which all are on the page
BEST, RANDOM = 2_000, 5_000  # of more: the best by any score, and others
DETAILED = 1_000  # of the best have their spectra and other strings there
BINS = (60, 45)


class Measured(NamedTuple):
    """A column of measured values to compare with.

    Attributes:
      table: file; None where the target is `score:NAME`.
      column: of it.
      key: its column of architectures; None for what the space finds.
      lower_is_better: it is an error or a loss.
      bootstrap: resamples behind each interval.
      seed: of these.
    """

    table: Path | None
    column: str
    key: str | None = None
    lower_is_better: bool = False
    bootstrap: int = 1000
    seed: int = 0


class Ranked(NamedTuple):
    """Scores as the page has them.

    Attributes:
      fields: of the scores, the baselines last.
      values, ranks: `[K, N]`; rank 1 is the worst, failures rank last.
      target: `[N]`, NaN where nothing was measured.
    """

    fields: list[Field]
    values: Floats
    ranks: Floats
    target: Floats


def tab(runs: Sequence[Run], measured: Measured | None) -> Tab:
    """The tab of runs on one space, compared with `measured` if that is given."""
    found = read_sources([run.path for run in runs])
    compared = None if measured is None else against(pair(runs, measured), found)
    scores = _ranked(found, compared)
    chosen = _chosen(scores)
    own = [field for field in scores.fields if field.title not in BASELINES.values()]
    panels, bins = _panels(scores, compared, binned=len(chosen) < len(found.archs))
    data: dict[str, Mapping[str, Sequence[Any]]] = {"rows": _rows(found, scores, chosen), "bins": bins}
    sections = [_health(runs, found, data)]
    if compared is not None and measured is not None:
        comparison = Comparison(
            compared, compared.agreements(resamples=measured.bootstrap, seed=measured.seed), compared.over_seeds()
        )
        sections.append(_agreement(comparison, data))
    sections.append(panels)
    sections.append(Section("Architectures", parts=("cell", "table")))
    if len(scores.fields) > 1:
        sections.append(_against(scores, data))
    sections += [*_learned(runs, data), cost(runs), redo(runs)]
    drawn = drawing(found.space, found.archs[chosen])
    data["rows"] = {**data["rows"], "cell": drawn.cells}
    columns = [("arch", "architecture", "text"), *((field.value, field.title, "number") for field in scores.fields)]
    if compared is not None:
        columns.insert(1, ("t", compared.pair.target, "number"))
    seeds = sorted({seed for values in found.values.values() for seed in values})
    names = [field.title for field in own] or [field.title for field in scores.fields]
    line = f"{found.name} · {len(found.archs):,} architectures · {', '.join(names)}" + (
        f" · {len(seeds)} seeds" if len(seeds) > 1 else ""
    )
    more = {"drawing": drawn.key, "details": _details(runs, found, scores, chosen), "spectrum": specs.spectrum()}
    return Tab(found.name, line, sections, data, columns, more)


def pair(runs: Sequence[Run], measured: Measured) -> Pair:
    """What the runs are compared with."""
    table = measured.table or Path(runs[0].path)
    names = tuple(run.path for run in runs)
    return Pair(names, table, measured.column, measured.key, measured.lower_is_better)


def _ranked(found: Scores, compared: Compared | None) -> Ranked:
    """The scores of the first seed with their ranks, and what was measured."""
    size = len(found.archs)
    values = [next(iter(found.values[name].values())) for name in found.signs]
    dense = [ordering(of, sign) for of, sign in zip(values, found.signs.values(), strict=True)]
    ranks = [midranks(of) + (size + 1) / 2 for of in dense]
    target = np.full(size, np.nan)
    if compared is not None:
        target[compared.rows] = compared.target
    fields = [Field(number, BASELINES.get(name, name)) for number, name in enumerate(found.signs)]
    return Ranked(fields, np.stack(values), np.stack(ranks), target)


def _chosen(scores: Ranked) -> np.ndarray:
    """The rows that are on the page: all or, of many, the best by any score and random others, in their order."""
    size = scores.ranks.shape[1]
    if size <= MOST:
        return np.arange(size)
    first = _best_first(scores)
    others = np.random.default_rng(0).choice(first[BEST:], RANDOM, replace=False)
    return np.sort(np.concatenate([first[:BEST], others]))


def _best_first(scores: Ranked) -> np.ndarray:
    """All rows, those first that rank highest by any of the scores; the baselines count where there are no others."""
    own = [f.number for f in scores.fields if f.title not in BASELINES.values()] or [f.number for f in scores.fields]
    return np.argsort(-scores.ranks[own].max(0), kind="stable")


def _rows(found: Scores, scores: Ranked, chosen: np.ndarray) -> dict[str, Sequence[Any]]:
    """The columns of the rows on the page."""
    columns: dict[str, Sequence[Any]] = {"arch": [found.space.decode(arch) for arch in found.archs[chosen]]}
    for field, values, ranks in zip(scores.fields, scores.values, scores.ranks, strict=True):
        columns |= {field.value: short(values[chosen]), field.rank: short(ranks[chosen])}
    if np.isfinite(scores.target).any():
        columns["t"] = short(scores.target[chosen])
    return columns


def _panels(scores: Ranked, compared: Compared | None, *, binned: bool) -> tuple[Section, dict[str, list[Any]]]:
    """The panels of the target, or else of the rank by FLOPs, against the ranks; and their bins."""
    size = scores.ranks.shape[1]
    if compared is None:
        flops = next(field for field in scores.fields if field.title == BASELINES["flops"])
        y, upright = Axis(flops.rank, "rank by FLOPs", (0, size + 1)), scores.ranks[flops.number]
        shown = [field for field in scores.fields if field is not flops]
        text = "Rank by FLOPs against the rank by each score: a score that follows size lies on the diagonal."
    else:
        down, known = compared.pair.lower_is_better, compared.target
        domain = of_target(known, lower_is_better=down)
        y, upright, shown = Axis("t", compared.pair.target, domain, down), scores.target, scores.fields
        text = f"The target against the rank by each score, without the worst {CLIP} % by target."
    text += " Drag a rectangle: it marks the same architectures in all panels and filters the table; click to end that."
    bins: dict[str, list[Any]] = {name: [] for name in ("score", "x0", "x1", "y0", "y1", "count")}
    if binned:
        text += f" Grey: all {size:,}; dots: the best {BEST:,} by any score and {RANDOM:,} random ones."
        for field in shown:
            _bin(bins, field.number, scores.ranks[field.number], upright, y.domain)
    return Section("Ranks", f"<p>{escaped(text)}</p>", {"ranks": specs.panels(shown, y, size, binned=binned)}), bins


def _bin(bins: dict[str, list[Any]], score: int, x: Floats, y: Floats, domain: tuple[float, float]) -> None:
    """Add the numbers of architectures in each bin that is not empty."""
    known = np.isfinite(y)
    ranges = [(0.0, len(x) + 1.0), domain if domain[1] > domain[0] else (domain[0] - 0.5, domain[0] + 0.5)]
    counts, across, up = np.histogram2d(x[known], y[known], BINS, ranges)
    for column, row in np.argwhere(counts):
        corners = across[column], across[column + 1], up[row], up[row + 1]
        entry = (score, *short(np.array(corners)), int(counts[column, row]))
        for name, value in zip(bins, entry, strict=True):
            bins[name].append(value)


def _health(runs: Sequence[Run], found: Scores, data: dict[str, Mapping[str, Sequence[Any]]]) -> Section:
    """How the values came about, and how much they vary between repeats and between seeds."""
    health: dict[str, list[Any]] = {"score": [], "status": [], "count": []}
    noise: dict[str, list[Any]] = {"score": [], "low": [], "median": [], "high": []}
    rows = []
    for name in found.signs:
        statuses = [run.frame[f"{name}_status"] for run in runs if f"{name}_status" in run.frame.columns]
        if not statuses or name in BASELINES:
            continue
        counts = pl.concat([status.cast(pl.String) for status in statuses]).value_counts(name="count").sort("count")
        for status, count in reversed(list(counts.iter_rows())):
            for column, value in zip(health, (name, status, count), strict=True):
                health[column].append(value)
        kinds = ", ".join(f"{count:,} {status}" for status, count in reversed(list(counts.iter_rows())))
        spread = [_repeats(run.frame, name) for run in runs]
        between = _between(found.values[name])
        for label, values in ((name, np.concatenate(spread)), (f"{name}, between seeds", between)):
            values = values[np.isfinite(values) & (values > 0)]
            if len(values):
                for column, value in zip(noise, (label, *short(np.percentile(values, [10, 50, 90]))), strict=True):
                    noise[column].append(value)
        medians = [float(np.nanmedian(v)) if np.isfinite(v).any() else None for v in (np.concatenate(spread), between)]
        rows.append(
            [name, "higher" if found.signs[name] > 0 else "lower", kinds, *(figure(median, 3) for median in medians)]
        )
    data |= {"health": health, "noise": noise}
    if not rows:
        return Section("Health", "<p>No score here has a status: counts and predictions cannot fail.</p>")
    headings = ["score", "better", "architectures by status", "std / |mean| of repeats, median", "between seeds"]
    charts = {"health": specs.health(list(dict.fromkeys(health["score"])))}
    if noise["score"]:
        charts["noise"] = specs.noise(noise["score"])
    good = f"{Status.ok.name} and {Status.saturated.name} come with a value; all others rank last."
    return Section("Health", html_table(headings, rows) + f"<p>{good}</p>", charts)


def _repeats(frame: pl.DataFrame, name: str) -> Floats:
    """Deviation over the repeats by |mean| of each architecture; NaN where it is unknown, none without repeats."""
    if f"{name}_std" not in frame.columns:
        return np.empty(0)
    ratio = frame.select(pl.col(f"{name}_std").cast(pl.Float64) / pl.col(name).cast(pl.Float64).abs()).to_series()
    return ratio.fill_null(np.nan).to_numpy()


def _between(values: Mapping[int, Floats]) -> Floats:
    """The same over the seeds."""
    if len(values) < 2:
        return np.empty(0)
    every = np.stack(list(values.values()))
    with np.errstate(all="ignore"):
        ratio: Floats = every.std(0, ddof=1) / np.abs(every.mean(0))
    return ratio


def _agreement(comparison: Comparison, data: dict[str, Mapping[str, Sequence[Any]]]) -> Section:
    """How each score agrees with the target, beside #params and FLOPs."""
    chart: dict[str, list[Any]] = {name: [] for name in ("score", "figure", "value", "low", "high")}
    rows = []
    for name, row in comparison.agreements.items():
        for title, value, interval in (
            ("Spearman's rho", row.spearman, row.spearman_interval),
            ("Kendall's tau", row.kendall, row.kendall_interval),
        ):
            if value is not None:
                low, high = interval or (value, value)
                for column, entry in zip(chart, (row.label, title, *short(np.array([value, low, high]))), strict=True):
                    chart[column].append(entry)
        over = comparison.over_seeds.get(name)
        rows.append(
            [
                row.label,
                with_interval(row.spearman, row.spearman_interval),
                with_interval(row.kendall, row.kendall_interval),
                number(row.spearman_top),
                number(row.partial_given_flops),
                figure(row.top_target, 5) + (f" (mean of {row.top_ties})" if row.top_ties > 1 else ""),
                f"{row.n:,}",
                f"{row.failures:,}",
                *(
                    [_over(over.spearman if over else None), _over(over.stability if over else None)]
                    if comparison.over_seeds
                    else []
                ),
            ]
        )
    data["agreement"] = chart
    headings = ["score", "Spearman's rho [95 %]", "Kendall's tau [95 %]", "rho in the top 10 %", "rho given FLOPs",
                "best pick", "n", "failed"]  # fmt: skip
    headings += ["rho over the seeds", "rho between seeds"] if comparison.over_seeds else []
    pair = comparison.measured.pair
    lower = " (lower is better)" if pair.lower_is_better else ""
    text = (
        f"With {pair.target}{lower} over {len(comparison.measured.target):,} architectures. Positive = agrees; "
        "intervals by bootstrap; best pick = target of the architecture with the best score."
    )
    charts = {"agreement": specs.agreement([row.label for row in comparison.agreements.values()])}
    return Section("Agreement", f"<p>{escaped(text)}</p>" + html_table(headings, rows), charts)


def _over(of: Range | None) -> str:
    """A mean over seeds with its range."""
    return "-" if of is None else with_interval(of.mean, (of.low, of.high))


def _against(scores: Ranked, data: dict[str, Mapping[str, Sequence[Any]]]) -> Section:
    """Scores against scores."""
    dense = [ordering(ranks) for ranks in scores.ranks]
    pairs = [(a, b) for a in scores.fields for b in scores.fields]
    rho = np.array([spearman_rho(dense[a.number], dense[b.number]) for a, b in pairs])
    data["rho"] = {"a": [a.title for a, _ in pairs], "b": [b.title for _, b in pairs], "rho": short(rho)}
    charts = {"rho": specs.correlations([f.title for f in scores.fields]), "pair": specs.pair(scores.fields)}
    return Section("Scores against scores", "", charts)


def _learned(runs: Sequence[Run], data: dict[str, Mapping[str, Sequence[Any]]]) -> list[Section]:
    """What `predict` and `supernet` learned, and how."""
    sections = []
    held = [run for run in runs if "held_out" in run.frame.columns]
    if held:
        known = held[0].frame.drop_nulls("held_out")
        data["held_out"] = {
            "arch": known["arch"].to_list(),
            "measured": short(known["measured"].to_numpy()),
            "predicted": short(known["held_out"].to_numpy()),
        }
        agreements = held[0].result.get("agreements", {})
        headings = ["score", "n", "Spearman's rho", "Kendall's tau", "rho given FLOPs"]
        rows = [
            [row["label"], row["n"], *(number(row[name]) for name in ("spearman", "kendall", "partial_given_flops"))]
            for row in agreements.values()
        ]
        charts = {"held_out": specs.measured(held[0].settings["target"])} if len(known) else {}
        text = "<p>Held-out: each fold of the labels predicted from the others.</p>"
        sections.append(Section("Prediction", text + html_table(headings, rows), charts))
        sections += _effects(held[0], data)
    trained = [run for run in runs if len(run.curves)]
    if trained:
        curves = pl.concat([run.curves.with_columns(run=pl.lit(run.path)) for run in trained], how="diagonal_relaxed")
        data["curves"] = {name: curves[name].to_list() for name in ("run", "epoch", "loss", "rank_loss")}
        ranked = bool(curves["strength"].cast(pl.Boolean).any())
        sections.append(Section("Training of the supernet", "", {"curves": specs.training(ranked=ranked)}))
    return sections


def _effects(run: Run, data: dict[str, Mapping[str, Sequence[Any]]]) -> list[Section]:
    """What the predictor learnt of each choice, and of pairs; nothing where the run does not say."""
    found = run.result.get("effects")
    if not found:
        return []
    single = found["single"]
    data["effects"] = {name: [row[name] for row in single] for name in single[0]}
    places, choices = (list(dict.fromkeys(data["effects"][name])) for name in ("place", "choice"))
    pairs = [
        [*(f"{part['choice']} at {part['place']}" for part in row["of"]), f"{row['effect']:+.3g} ± {row['error']:.1g}"]
        for row in found["pairs"]
    ]
    text = (
        "<p>By how much a choice moves the prediction, the others being equal. These sums explain "
        f"{found['explained'][0]:.0%} of the predictions' variance, with pairs {found['explained'][1]:.0%}.</p>"
    )
    chart = {"effects": specs.effects(run.settings["target"], places, choices)}
    return [
        Section(
            "What the predictor learnt", text + html_table(["choice", "and", "together, beyond both"], pairs), chart
        )
    ]


def _details(runs: Sequence[Run], found: Scores, scores: Ranked, chosen: np.ndarray) -> dict[str, Any]:
    """Spectra and other strings of the best rows, by their places on the page."""
    places = {int(row): place for place, row in enumerate(chosen.tolist())}
    best = [row for row in _best_first(scores)[:DETAILED].tolist() if row in places]
    spectra = _spectra(runs, {found.space.decode(found.archs[row]) for row in best})
    details = {}
    for row in best:
        arch = found.archs[row]
        entry: dict[str, Any] = {"strings": found.space.other_strings(arch)} if found.space.other_strings(arch) else {}
        if spectrum := spectra.get(found.space.decode(arch)):
            entry["spectrum"] = spectrum
        if entry:
            details[str(places[row])] = entry
    return details


def _spectra(runs: Sequence[Run], archs: set[str]) -> dict[str, list[float | int | None]]:
    """The first repeat's NTK spectra of these architectures, where a run has them."""
    for run in runs:
        if "ntk_spectrum" in run.frame.columns:
            rows = run.frame.select("arch", "ntk_spectrum").filter(pl.col("arch").is_in(list(archs))).drop_nulls()
            return {arch: short(np.array(repeats[0], np.float64)) for arch, repeats in rows.iter_rows()}
    return {}
