"""The transfer protocol: who is tested, what is reported, and the published figures of ridge on 13 proxies."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from bench.transfer import __main__ as transfer
from bench.transfer import data as transfer_data
from bench.transfer.__main__ import Options, main, measured
from bench.transfer.data import Measured
from bench.transfer.plot import draw
from jaxnas import spaces
from jaxnas.learn.features import counts_of, make_pool
from jaxnas.tables.store import Store

SPACE = spaces.get("transnas101_micro")


def made_up(count=2000):
    """Some architectures, by classes of isomorphic ones, and the number of their convolutions."""
    archs = SPACE.enumerate()[:: SPACE.size // count]
    counts = counts_of(SPACE, archs)
    classes = np.unique(SPACE.canonical(archs), axis=0, return_inverse=True)[1].reshape(-1)
    pool = make_pool(SPACE, archs, {})
    return Measured(pool, (archs >= 2).sum(1) + (archs == 3).sum(1) / 10, counts, classes)


@pytest.mark.parametrize("unseen", [False, True])
def test_labelled_rows_and_if_asked_for_isomorphic_ones_are_not_tested(unseen):
    data = made_up()
    of_source = {"object": transfer.TASKS["object"], "nasbench201": transfer.CIFAR10}
    case = transfer.Case(transfer.TASKS["segmentation"], of_source)
    sources = dict.fromkeys(of_source, data)
    draws = transfer.drawn(case, data, sources, Options(seeds=3, labels=(0, 16), unseen=unseen))
    assert draws.rows.shape == (3, 16)
    for seed, tests in enumerate(draws.tests):
        assert not {*draws.rows[seed]} & {*tests}
        seen = {*data.classes[draws.rows[seed]], *data.classes[draws.known["object"][seed]]}
        if unseen:
            assert not seen & {*data.classes[tests]}
            assert len(tests) == (~np.isin(data.classes, [*seen])).sum()
        else:
            assert len(tests) == transfer.TESTED < len(data.values) - 16


def test_figures_of_a_perfect_and_of_a_constant_prediction():
    data = made_up()
    tests = [np.arange(300), np.arange(100, len(data.values))]
    perfect = transfer.quality(np.stack([data.values] * 2), data, tests)
    assert [perfect[name]["mean"] for name in ("spearman", "kendall", "top_precision")] == pytest.approx([1, 1, 1])
    assert perfect["regret"]["mean"] == perfect["spearman"]["std"] == 0
    constant = transfer.quality(np.zeros((2, len(data.values))), data, tests)
    assert constant["spearman"]["mean"] == constant["kendall"]["mean"] == 0


def test_rows_without_a_value_are_left_out_of_the_pool_too(tmp_path):
    archs = SPACE.enumerate()[::200]
    strings, sizes = [SPACE.decode(arch) for arch in archs], SPACE.params(archs).astype(float)
    there = np.arange(len(archs)) % 3 > 0
    table = pl.DataFrame({"arch": strings, "value": pl.Series(np.where(there, sizes, np.nan)).fill_nan(None)})
    table.write_csv(tmp_path / "table.csv")
    scorers = {name: {"sign": 1} for name in transfer_data.SCORES}
    store = Store.open(tmp_path / SPACE.name, {"settings": {"space": SPACE.name}, "part_size": 1, "scorers": scorers})
    scores = dict.fromkeys([*transfer_data.SCORES, "params", "flops"], -sizes)
    store.write(0, pl.DataFrame({"row": range(len(archs)), "arch": strings, **scores}))
    data = transfer_data.Data(SPACE.name, str(tmp_path / "table.csv"), "value").read(tmp_path)
    assert len(data.values) == len(data.pool.ranks) == there.sum()
    np.testing.assert_array_equal(data.values, data.counts["params"])


def test_ridge_on_published_proxies_has_the_published_figures(shared_data, monkeypatch, tmp_path):
    monkeypatch.setenv("JAXNAS_DATA", str(shared_data))
    monkeypatch.setattr(
        "bench.transfer.data.PROXIES", shared_data / "published_proxies/nasbench201_naslib_9445.parquet"
    )
    monkeypatch.setitem(transfer.CASES, "proxies", replace(transfer.CASES["proxies"], models=("ridge",)))
    *_, record = measured("proxies", Options(seeds=6, labels=(0, 16, 64, 128)))
    found = record["figures"]["from scratch: ridge"]
    kendall = [found[n]["kendall"]["mean"] for n in ("16", "64", "128")]
    np.testing.assert_allclose(kendall, [0.69, 0.73, 0.75], atol=0.035)
    assert 0.85 < found["64"]["coverage"]["mean"] < 0.95
    assert found["0"] == record["figures"]["zero-label"]["0"]
    assert len(record["scores"]) == 15 and "jacov" in record["scores"]  # with the live counts
    draw(json.loads(json.dumps(record)), tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["segmentatoin"], "did you mean"),
        (["proxies", "--seeds", "0"], "least 1"),
        (["proxies", "--models", "oak"], "unknown model"),
    ],
)
def test_bad_options(capsys, words, says):
    assert main(words) == 2
    assert says in capsys.readouterr().err


def test_the_folder_of_out_is_made_before_the_work(tmp_path, monkeypatch):
    def record(name, options):
        assert options.out.is_dir()
        raise KeyboardInterrupt

    monkeypatch.setattr(transfer, "measured", record)
    assert main(["proxies", "--out", str(tmp_path / "new" / "folder")]) == 130


def test_without_names_the_cases_are_listed(capsys):
    assert main([]) == 0
    assert capsys.readouterr().out.split() == [*transfer.CASES]
