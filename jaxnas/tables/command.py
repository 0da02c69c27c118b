"""`python -m jaxnas.tables`: tables of whole spaces, made, fetched and checked."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from jaxnas.cli import frame, process
from jaxnas.errors import UserError, check_seed, unknown
from jaxnas.tables import release
from jaxnas.tables.named import PREFIX, available, cached, is_named

Column = Annotated[str | None, tyro.conf.arg(metavar="COLUMN")]


@dataclass(frozen=True)
class Build:
    """Make one table of finished runs, with a card and SHA256SUMS."""

    runs: tyro.conf.Positional[Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME|DIR...")]]
    """Directories of `jaxnas score`: other seeds add rows, other scores columns. NAME scores all of that table again,
    as its manifest says, in runs/table-NAME, and resumes there."""
    name: str | None = None
    """Name of the table, read as `table:NAME`; by default that of the space."""
    scores: str | None = None
    """Comma-separated scores to take; by default all."""
    spectra: bool = False
    """Write the spectra of `ntk` and its kind, too: into NAME.spectra.parquet, beside the table."""
    out: Path | None = None
    """Folder for the files; by default the cache, where `table:NAME` finds them."""
    table: Path | None = None
    """Table of measured values; with --target, how the scores agree with them stands on the card."""
    target: Column = None
    """Column of --table."""
    lower_is_better: bool = False
    """The target is an error, a loss or a perplexity."""


@dataclass(frozen=True)
class List:
    """List the tables that have a name: what they have, and where they are."""


@dataclass(frozen=True)
class Fetch:
    """Bring a released table into the cache."""

    name: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="NAME")]]
    """Name of the table, as `jaxnas tables list` has it."""


@dataclass(frozen=True)
class Verify:
    """Check the bytes of a table, and score a random share of it again."""

    table: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="NAME|FILE")]]
    """Name of the table, or a file."""
    share: float = 0.001
    """Share of the architectures to score again, at least one; 0 to check the bytes alone."""
    seed: int = 0
    """Seed of the draw."""


@dataclass(frozen=True)
class Convert:
    """Make a table of a benchmark's own file, without the benchmark's code."""

    space: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="SPACE")]]
    """Space of the benchmark: nasbench201, nats_size, nasbench101, transnas101_micro or transnas101_macro."""
    file: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="FILE")]]
    """The benchmark's file, such as NATS-tss-v1_0-3ffb9.pickle.pbz2 or nasbench_only108.tfrecord."""
    out: Path | None = None
    """File for the table (.parquet); by default in the cache, where it is `table:SPACE-accuracies`."""


def build(config: Build) -> None:
    """Run `jaxnas tables build`."""
    from jaxnas.tables.verbs import build as building
    from jaxnas.tables.verbs import card

    if not config.runs:
        raise UserError("missing: DIR; give one or several directories of jaxnas score")
    if (config.table is None) != (config.target is None):
        raise UserError("--table and --target go together: a file, and its column of measured values")
    runs = [_path(run) for run in config.runs]
    if is_named(runs[0]) and len(runs) > 1:
        raise UserError(f"{runs[0]} is a table, which is built anew alone; give directories of jaxnas score, or it")
    if is_named(runs[0]):
        from jaxnas.tables.verbs.again import score_whole

        runs = score_whole(runs[0], Path("runs") / f"table-{str(runs[0]).removeprefix(PREFIX)}")
    scores = None if config.scores is None else [name.strip() for name in config.scores.split(",")]
    table, spectra, manifest = building.combined(runs, scores, config.name)
    if config.spectra and not any(name.endswith(release.SPECTRUM) for name in spectra.columns):
        raise UserError("--spectra: none of these scores has a spectrum; give runs of ntk, or leave it out")
    path = _place(manifest["name"], config.out)
    text = card.card(table, manifest)
    release.write(path, table, manifest)
    if config.table is not None and config.target is not None:
        text += "\n" + _correlations(path, config)
    path.with_suffix(".md").write_text(text, encoding="utf-8")
    release.add_checksum(path)
    if config.spectra:
        about = {name: value for name, value in manifest.items() if name != "scorers"}
        release.write(beside := release.spectra_beside(path), spectra, about | {"rows": len(spectra)})
        release.add_checksum(beside)
    process.tell(
        f"{path}: {len(table):,} rows, {path.stat().st_size / 1e6:.2f} MB; beside it a card and {release.SUMS}"
    )


def show(config: List) -> None:
    """Run `jaxnas tables list`."""
    tables = available()
    width = max((len(table.name) for table in tables), default=0)
    for table in tables:
        manifest = table.manifest()
        process.tell(f"{table.name:<{width}}  {', '.join(_described(manifest)) or 'no manifest'}  ({table.where})")


def fetch(config: Fetch) -> None:
    """Run `jaxnas tables fetch`."""
    from jaxnas.tables.verbs.fetch import fetch as fetched

    path, new = fetched(config.name.removeprefix(PREFIX))
    print(f"{path}: {'fetched' if new else 'is here already'}")


def verify(config: Verify) -> str | None:
    """Run `jaxnas tables verify`; return what is not as it should be."""
    from jaxnas.tables.verbs import verify as verifying

    if not 0 <= config.share <= 1:
        raise UserError(f"--share {config.share}: give a share from 0 to 1")
    check_seed(config.seed)
    path = _path(config.table)
    if not is_named(path) and not path.exists():
        raise unknown("table", config.table, [table.name for table in available()])
    checked = verifying.check_bytes(path)
    print(f"{path}: " + ("its SHA-256 is as published" if checked else f"no {release.SUMS} says what its bytes were"))
    if config.share and not verifying.has_scores(path):
        print("  it has measured values, which nothing here can measure again")
        return None
    differences = verifying.check_scores(path, config.share, config.seed) if config.share else []
    return verifying.said(path, differences)


def convert(config: Convert) -> None:
    """Run `jaxnas tables convert`."""
    from jaxnas.tables.verbs.convert import converted

    table, manifest = converted(config.space, config.file)
    path = cached(manifest["name"]) if config.out is None else config.out
    release.write(path, table, manifest)
    release.add_checksum(path)
    name = f" ({PREFIX}{manifest['name']})" if config.out is None else ""
    print(f"{path}{name}: {len(table):,} rows; {', '.join(manifest['columns'])}")


VERBS: dict[str, tuple[type[Any], Callable[..., str | None]]] = {
    "build": (Build, build),
    "list": (List, show),
    "fetch": (Fetch, fetch),
    "verify": (Verify, verify),
    "convert": (Convert, convert),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    name, *rest = (sys.argv[1:] if argv is None else argv) or [""]
    if name in ("-h", "--help"):
        print(usage())
        return 0
    if name not in VERBS:
        process.say(f"jaxnas tables: {unknown('verb', name, VERBS)}" if name else usage())
        return 2
    options, verb = VERBS[name]
    return frame.run(options, verb, rest, prog=f"jaxnas tables {name}")


def usage() -> str:
    """The text of `jaxnas tables --help`."""
    width = max(map(len, VERBS))
    lines = [f"  {name:<{width}}  {(options.__doc__ or '').partition('. ')[0]}" for name, (options, _) in VERBS.items()]
    return "\n".join(
        ["usage: jaxnas tables [-h] VERB ...", "", *lines, "", "jaxnas tables VERB --help lists its options."]
    )


def _path(text: str) -> Path:
    """`table:NAME` for the name of a table, with or without `table:`; else a path."""
    return Path(PREFIX + text if text in {table.name for table in available()} else text)


def _place(name: str, folder: Path | None) -> Path:
    if folder is not None:
        return folder / f"{name}{release.SUFFIX}"
    if any(table.name == name and table.where == "package" for table in available()):
        raise UserError(f"the package has a table {name}; give this one another --name, or an --out")
    return cached(name)


def _correlations(path: Path, config: Build) -> str:
    from jaxnas.correlate.comparison import read
    from jaxnas.correlate.pairs import Pair
    from jaxnas.tables.verbs import card

    assert config.table is not None and config.target is not None
    pair = Pair((str(path),), config.table, config.target, lower_is_better=config.lower_is_better)
    agreements = read(pair).agreements(resamples=1000, seed=0)
    return card.correlations(agreements, config.target, config.table.name)


def _described(manifest: dict[str, Any]) -> list[str]:
    """What a manifest says of its table, in words."""
    if not manifest:
        return []
    scores = list(manifest.get("scorers", {})) or manifest["columns"]
    seeds = f"seed{'s' * (len(manifest['seeds']) > 1)} {', '.join(map(str, manifest['seeds']))}"
    return [f"{manifest['rows']:,} rows", *([seeds] if manifest["seeds"] else []), *scores]
