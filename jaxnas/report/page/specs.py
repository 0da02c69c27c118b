"""The charts as Vega-Lite specifications: pure functions, whose data the page brings under a name."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Spec = dict[str, Any]

BLUE, ORANGE, GREY, PALE = "#4477aa", "#ee7733", "#777777", "#c9d3de"
PANEL, COLUMNS = {"width": 250, "height": 210}, 3
STATUSES = {  # colour of each; what is another's is grey
    "ok": "#4477aa",
    "saturated": "#66ccee",
    "rank_deficient": "#ccbb44",
    "nonfinite": "#ee6677",
    "disconnected": "#bbbbbb",
    "failed": "#aa3377",
    "skipped": "#dddddd",
}
CONFIG = {
    "font": "system-ui, sans-serif",
    "axis": {"gridColor": "#eeeeee", "domainColor": "#bbbbbb", "tickColor": "#bbbbbb", "titleFontWeight": "normal"},
    "view": {"stroke": "#dddddd"},
    "legend": {"titleFontWeight": "normal"},
}


class Field(NamedTuple):
    """A score in the page's rows: its values are `s0`, its ranks `r0` (1 = worst), and so on."""

    number: int
    title: str

    @property
    def value(self) -> str:
        return f"s{self.number}"

    @property
    def rank(self) -> str:
        return f"r{self.number}"


class Axis(NamedTuple):
    """A vertical axis.

    Attributes:
      field: of the rows.
      title: of the axis.
      domain: what is shown of it.
      down: the best is at its low end, which is on top.
    """

    field: str
    title: str
    domain: tuple[float, float]
    down: bool = False


def quantitative(field: str, title: str, **scale: Any) -> Spec:
    """An encoding of numbers."""
    zero = {} if scale.keys() & {"type", "domain"} else {"zero": False}
    return {"field": field, "type": "quantitative", "title": title, "scale": zero | scale}


def panels(scores: Sequence[Field], y: Axis, number: int, *, binned: bool) -> Spec:
    """For each score a panel of `y` against its rank; brushing in one marks the same rows in all.

    Args:
      scores: one panel each.
      y: the same in all.
      number: of ranks.
      binned: the rows are some of many, whose numbers are in the data `bins`.
    """
    upright = quantitative(y.field, y.title, domain=list(y.domain), reverse=y.down)
    views = [_panel(score, upright, number, binned=binned) for score in scores]
    brush = {"name": "brush", "select": {"type": "interval"}, "views": [f"points{s.number}" for s in scores]}
    return {"concat": views, "columns": COLUMNS, "params": [brush], "config": CONFIG}


def _panel(score: Field, upright: Spec, number: int, *, binned: bool) -> Spec:
    across = quantitative(score.rank, "rank (right = best)", domain=[0, number + 1], nice=False)
    points = {
        "name": f"points{score.number}",
        "data": {"name": "rows"},
        "mark": {"type": "point", "filled": True, "size": 14, "clip": True},
        "encoding": {
            "x": across,
            "y": upright,
            "color": {"condition": {"param": "brush", "value": BLUE}, "value": PALE},
            "opacity": {"value": round(min(1.0, max(0.15, 30 / number**0.5)), 2)},
        },
    }
    title = {"text": score.title, "fontSize": 12}
    if not binned:
        return {"title": title, **PANEL, **points}
    bins = {
        "data": {"name": "bins"},
        "transform": [{"filter": f"datum.score === {score.number}"}],
        "mark": {"type": "rect", "clip": True},
        "encoding": {
            "x": {**across, "field": "x0"},
            "x2": {"field": "x1"},
            "y": {**upright, "field": "y0"},
            "y2": {"field": "y1"},
            "color": {
                "field": "count",
                "type": "quantitative",
                "scale": {"type": "log", "scheme": "greys"},
                "legend": None,
            },
        },
    }
    return {"title": title, **PANEL, "layer": [bins, points], "resolve": {"scale": {"color": "independent"}}}


def agreement(scores: Sequence[str]) -> Spec:
    """Rank correlations with their intervals, a row for each score: data `agreement`."""
    y = {"field": "score", "type": "nominal", "sort": list(scores), "title": None}
    offset = {"yOffset": {"field": "figure"}, "color": {"field": "figure", "type": "nominal", "title": None}}
    x = quantitative("value", "correlation (positive = agrees with the target) and its 95 % interval", zero=True)
    return {
        "data": {"name": "agreement"},
        "width": 420,
        "height": {"step": 14},
        "encoding": {"y": y, **offset},
        "layer": [
            {
                "mark": {"type": "rule", "strokeWidth": 2},
                "encoding": {"x": {**x, "field": "low"}, "x2": {"field": "high"}},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 45},
                "encoding": {"x": x, "tooltip": _tips("score", "figure", "value")},
            },
        ],
        "config": CONFIG,
    }


def health(scores: Sequence[str]) -> Spec:
    """How the values of each score came about: data `health`."""
    return {
        "data": {"name": "health"},
        "width": 420,
        "height": {"step": 18},
        "mark": "bar",
        "encoding": {
            "y": {"field": "score", "type": "nominal", "sort": list(scores), "title": None},
            "x": {
                "field": "count",
                "type": "quantitative",
                "stack": "normalize",
                "title": "share of the architectures",
                "axis": {"format": "%"},
            },
            "color": {
                "field": "status",
                "type": "nominal",
                "title": "status",
                "scale": {"domain": list(STATUSES), "range": list(STATUSES.values())},
            },
            "tooltip": _tips("score", "status", "count"),
        },
        "config": CONFIG,
    }


def noise(scores: Sequence[str]) -> Spec:
    """Deviation of the repeats over their mean, quantiles over the architectures: data `noise`."""
    x = quantitative("median", "standard deviation / |mean| over the repeats: 10, 50, 90 %", type="log")
    return {
        "data": {"name": "noise"},
        "width": 420,
        "height": {"step": 18},
        "encoding": {"y": {"field": "score", "type": "nominal", "sort": list(scores), "title": None}},
        "layer": [
            {
                "mark": {"type": "rule", "color": BLUE, "strokeWidth": 2},
                "encoding": {"x": {**x, "field": "low"}, "x2": {"field": "high"}},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 45, "color": BLUE},
                "encoding": {"x": x, "tooltip": _tips("score", "low", "median", "high")},
            },
        ],
        "config": CONFIG,
    }


def correlations(scores: Sequence[str]) -> Spec:
    """A map of Spearman's rho between the scores: data `rho`."""
    side = {"type": "nominal", "sort": list(scores), "title": None}
    return {
        "data": {"name": "rho"},
        "width": {"step": 46},
        "height": {"step": 26},
        "encoding": {"x": {"field": "a", **side, "axis": {"labelAngle": -40}}, "y": {"field": "b", **side}},
        "layer": [
            {
                "mark": "rect",
                "encoding": {
                    "color": {
                        "field": "rho",
                        "type": "quantitative",
                        "title": "Spearman's rho",
                        "scale": {"scheme": "redblue", "domain": [-1, 1]},
                    },
                    "tooltip": _tips("a", "b", "rho"),
                },
            },
            {
                "mark": {"type": "text", "fontSize": 11},
                "encoding": {
                    "text": {"field": "rho", "type": "quantitative", "format": "+.2f"},
                    "color": {
                        "condition": {"test": "abs(datum.rho) > 0.6", "value": "white"},
                        "value": "black",
                    },
                },
            },
        ],
        "config": CONFIG,
    }


def pair(scores: Sequence[Field]) -> Spec:
    """Ranks by one score against ranks by another, which the reader chooses: data `rows`."""

    def choice(name: str, label: str, value: str) -> Spec:
        bind = {
            "input": "select",
            "name": f"{label} ",
            "options": [score.rank for score in scores],
            "labels": [score.title for score in scores],
        }
        return {"name": name, "value": value, "bind": bind}

    return {
        "data": {"name": "rows"},
        "params": [
            choice("across", "across", scores[0].rank),
            choice("up", "up", scores[min(1, len(scores) - 1)].rank),
        ],
        "transform": [
            {"calculate": "datum[across]", "as": "x"},
            {"calculate": "datum[up]", "as": "y"},
        ],
        "width": 300,
        "height": 300,
        "mark": {"type": "point", "filled": True, "size": 12, "color": BLUE, "opacity": 0.4},
        "encoding": {"x": quantitative("x", "rank (right = best)"), "y": quantitative("y", "rank (top = best)")},
        "config": CONFIG,
    }


def spectrum() -> Spec:
    """The eigenvalues of one architecture's kernel, in their order: data `spectrum`."""
    return {
        "data": {"name": "spectrum"},
        "width": 250,
        "height": 130,
        "mark": {"type": "line", "point": {"size": 12}, "color": BLUE},
        "encoding": {
            "x": quantitative("k", "eigenvalue"),
            "y": quantitative("value", "NTK spectrum", type="log"),
        },
        "config": CONFIG,
    }


class Objective(NamedTuple):
    """What a search is after.

    Attributes:
      field: its values in the data.
      title: of its axis.
      domain: what is shown of it.
      log: its values span decades.
      limits: on it, by what they are called.
    """

    field: Field
    title: str
    domain: tuple[float, float]
    log: bool
    limits: Mapping[str, float]

    @property
    def encoding(self) -> Spec:
        scale = {"type": "log"} if self.log else {}
        return quantitative(self.field.value, self.title, domain=list(self.domain), **scale)

    def rules(self, channel: str) -> list[Spec]:
        """Dashed lines at the limits, on the axis of a channel."""
        return [
            {
                "data": {"values": [{"limit": limit, "of": name}]},
                "mark": {"type": "rule", "strokeDash": [5, 4], "color": ORANGE},
                "encoding": {channel: {"field": "limit", "type": "quantitative"}, "tooltip": _tips("of", "limit")},
            }
            for name, limit in self.limits.items()
        ]


def best(objective: Objective, *, several: bool) -> Spec:
    """The best so far against evaluations and seconds: data `evaluated`, `best` and, of several seeds, `band`.

    Args:
      objective: whose values are shown.
      several: runs that differ in their seeds, whose mean and range are shown.
    """
    y = objective.encoding
    colour = {"field": "run", "type": "nominal", "title": None, "scale": {"scheme": "tableau10"}}
    rules = objective.rules("y")

    def against(field: str, label: str, *, band: bool) -> Spec:
        x = quantitative(field, label)
        points = {
            "data": {"name": "evaluated"},
            "mark": {"type": "point", "size": 10, "opacity": 0.35, "filled": True, "clip": True},
            "encoding": {
                "x": x,
                "y": y,
                "color": {"condition": {"test": "datum.keeps", **colour}, "value": PALE},
            },
        }
        line = {
            "data": {"name": "best"},
            "mark": {"type": "line", "interpolate": "step-after", "strokeWidth": 1 if band else 2, "clip": True},
            "encoding": {"x": x, "y": y, "color": colour, "detail": {"field": "seed"}},
        }
        layers = [points, line, *rules]
        if band:
            shown = {
                "data": {"name": "band"},
                "transform": [{"filter": f"datum.objective === {objective.field.number}"}],
            }
            layers = [
                points,
                {**shown, "mark": {"type": "area", "opacity": 0.25, "interpolate": "step-after", "clip": True},
                 "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}, "color": colour}},
                {**shown, "mark": {"type": "line", "interpolate": "step-after", "strokeWidth": 2, "clip": True},
                 "encoding": {"x": x, "y": {**y, "field": "mean"}, "color": colour}},
                *rules,
            ]  # fmt: skip
        return {"width": 330, "height": 230, "layer": layers}

    return {
        "hconcat": [
            against("n", "architectures evaluated", band=several),
            against("seconds", "seconds of evaluations", band=False),
        ],
        "config": CONFIG,
    }


def front(across: Objective, up: Objective, *, higher: bool) -> Spec:
    """The first two objectives of everything evaluated, and the front as steps: data `evaluated` and `front`.

    Args:
      across, up: the objectives.
      higher: more of the first is better.
    """
    x, y = across.encoding, up.encoding
    colour = {"field": "run", "type": "nominal", "title": None}
    rules = [*across.rules("x"), *up.rules("y")]
    step = "step-before" if higher else "step-after"
    return {
        "width": 430,
        "height": 300,
        "layer": [
            {
                "data": {"name": "evaluated"},
                "mark": {"type": "point", "size": 14, "filled": True, "opacity": 0.4, "clip": True},
                "encoding": {
                    "x": x,
                    "y": y,
                    "color": {"condition": {"test": "datum.keeps", "value": BLUE}, "value": PALE},
                },
            },
            {
                "data": {"name": "front"},
                "mark": {"type": "line", "interpolate": step, "point": {"size": 40}, "clip": True},
                "encoding": {"x": x, "y": y, "color": colour, "detail": {"field": "seed"}},
            },
            *rules,
        ],
        "config": CONFIG,
    }


def live_ops(edges: Sequence[str]) -> Spec:
    """How many operations live on each edge after each round of pruning: data `live`."""
    return {
        "data": {"name": "live"},
        "width": {"step": 46},
        "height": {"step": 22},
        "encoding": {
            "x": {"field": "round", "type": "ordinal", "title": "after round", "axis": {"labelAngle": 0}},
            "y": {"field": "edge", "type": "nominal", "sort": list(edges), "title": "edge (to <- from)"},
        },
        "layer": [
            {
                "mark": "rect",
                "encoding": {
                    "color": {
                        "field": "count",
                        "type": "quantitative",
                        "title": "live operations",
                        "scale": {"scheme": "blues", "domainMin": 0},
                    },
                    "tooltip": _tips("round", "edge", "live"),
                },
            },
            {
                "mark": {"type": "text", "fontSize": 11},
                "encoding": {
                    "text": {"field": "count"},
                    "color": {"condition": {"test": "datum.count > 2", "value": "white"}, "value": "black"},
                },
            },
        ],
        "config": CONFIG,
    }


def measured(title: str) -> Spec:
    """What was predicted of each label from the others against the label: data `held_out`."""
    x, y = quantitative("measured", f"measured {title}"), quantitative("predicted", "predicted from the others")
    return {
        "data": {"name": "held_out"},
        "width": 300,
        "height": 300,
        "layer": [
            {
                "mark": {"type": "line", "color": GREY, "strokeDash": [4, 4]},
                "encoding": {"x": x, "y": {**y, "field": "measured"}},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 25, "color": BLUE},
                "encoding": {"x": x, "y": y, "tooltip": _tips("arch", "measured", "predicted")},
            },
        ],
        "config": CONFIG,
    }


def effects(title: str, places: Sequence[str], choices: Sequence[str]) -> Spec:
    """By how much each choice moves the prediction, places down and choices across: data `effects`."""
    scale = {"scheme": "blueorange", "domainMid": 0}
    number = {"field": "effect", "type": "quantitative", "title": f"effect on {title}", "scale": scale}
    return {
        "data": {"name": "effects"},
        "width": {"step": 92},
        "height": {"step": 24},
        "encoding": {
            "x": {
                "field": "choice",
                "type": "nominal",
                "sort": list(choices),
                "title": None,
                "axis": {"labelAngle": 0},
            },
            "y": {"field": "place", "type": "nominal", "sort": list(places), "title": "place"},
        },
        "layer": [
            {
                "mark": "rect",
                "encoding": {"color": number, "tooltip": _tips("place", "choice", "effect", "error", "architectures")},
            },
            {
                "mark": {"type": "text", "fontSize": 11},
                "encoding": {"text": {"field": "effect", "type": "quantitative", "format": "+.2~g"}},
            },
        ],
        "config": CONFIG,
    }


def training(*, ranked: bool) -> Spec:
    """The curves of a supernet's training: data `curves`."""
    x = quantitative("epoch", "epoch")

    def curve(field: str, title: str, **scale: Any) -> Spec:
        return {
            "data": {"name": "curves"},
            "width": 330,
            "height": 210,
            "mark": {"type": "line", "color": BLUE},
            "encoding": {"x": x, "y": quantitative(field, title, **scale), "detail": {"field": "run"}},
        }

    ranks = [curve("rank_loss", "rank loss, with its factor", type="symlog")] if ranked else []
    return {"hconcat": [curve("loss", "cross-entropy of the drawn sub-nets"), *ranks], "config": CONFIG}


def _tips(*fields: str) -> list[Spec]:
    return [{"field": field} for field in fields]
