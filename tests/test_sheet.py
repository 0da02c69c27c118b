"""Tables on standard output, in every form."""

import json

import pytest

from jaxnas.report.sheet import Sheet, card

ROWS = [{"name": "a|b_1", "ms": "1.5"}, {"name": "[red]", "ms": ""}]
SHEET = Sheet(ROWS, [{"name": "a|b_1", "ms": 1.5}, {"name": "[red]", "ms": None}], right=["ms"], notes=["2 [rows]"])
SAYS = {
    "csv": "name,ms\na|b_1,1.5\n[red],\n",
    "json": '{"rows": [{"name": "a|b_1", "ms": 1.5}, {"name": "[red]", "ms": null}]}\n',
    "markdown": "| name | ms |\n| --- | ---: |\n| a\\|b_1 | 1.5 |\n| [red] |  |\n",
    "latex": (
        "\\begin{tabular}{lr}\n\\toprule\nname & ms \\\\\n\\midrule\na\\textbar{}b\\_1 & 1.5 \\\\\n[red] &  \\\\\n"
        "\\bottomrule\n\\end{tabular}\n"
    ),
}


@pytest.mark.parametrize("form", SAYS)
def test_forms(capsys, form):
    SHEET.print(form)
    assert capsys.readouterr().out == SAYS[form]


def test_for_people(capsys):
    SHEET.print("table")
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines[1].split() == ["name", "ms"] and "a|b_1  1.5" in lines[3] and lines[-1] == "2 [rows]"


def test_lists_in_cells(capsys):
    card("it", {"sizes": "1, 2"}, {"sizes": [1, 2], "by": {"a": 1}}).print("csv")
    assert capsys.readouterr().out == 'sizes,by\n"1, 2","{""a"": 1}"\n'


def test_json_of_ones_own(capsys):
    Sheet([], [], json={"best": 1}).print("json")
    assert json.loads(capsys.readouterr().out) == {"best": 1}


@pytest.mark.parametrize("form", ["csv", "markdown", "latex", "table"])
def test_no_rows(capsys, form):
    Sheet([], []).print(form)
    assert capsys.readouterr().out.strip() == ""


def test_a_narrow_terminal_cuts_one_column(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setenv("FORCE_COLOR", "1")
    rows = [{"place": "1", "arch": "x" * 50, "ms": "1.5"}]
    Sheet(rows, rows, cut="arch").print("table")
    lines = capsys.readouterr().out.splitlines()
    assert "1      xxxxxxxxxxxxxxx…  1.5" in lines[3].strip() and len(lines) == 5
