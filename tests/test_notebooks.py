"""The notebooks of the docs run, are small, and become pages of the site."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
MOST_BYTES = 300_000  # of all


@pytest.fixture(scope="module")
def notebooks():
    """`.ci/notebooks.py`, which runs them."""
    spec = importlib.util.spec_from_file_location("jaxnas_ci_notebooks", ROOT / ".ci" / "notebooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_they_are_small_and_were_run(notebooks):
    assert len(NOTEBOOKS) == 4
    assert sum(path.stat().st_size for path in NOTEBOOKS) < MOST_BYTES
    for path in NOTEBOOKS:
        cells = [cell for cell in notebooks.read(path)["cells"] if cell["cell_type"] == "code"]
        assert [cell["execution_count"] for cell in cells] == [*range(1, len(cells) + 1)], path.name
        outputs = [output for cell in cells for output in cell["outputs"]]
        kinds = {kind for output in outputs for kind in output.get("data", {"text/plain": ""})}
        assert outputs and kinds == {"text/plain"}
        assert not any(output["output_type"] == "error" for output in outputs)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_they_become_pages(notebooks, path):
    page = notebooks.as_markdown(notebooks.read(path))
    assert page.startswith("# ") and page.count("```python") > 3 and "```text" in page
    assert page.count("```") % 2 == 0 and "\x1b" not in page
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page):
        assert (path.parent / link).is_file(), link


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_they_run(notebooks, path, tmp_path, monkeypatch):
    """Every cell, in a kernel of its own; `pip install 'jaxnas[docs]'` brings it."""
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("XLA_FLAGS", "")
    ran, stored = notebooks.run(path, tmp_path), notebooks.read(path)
    assert [len(cell.get("outputs", [])) for cell in ran["cells"]] == [
        len(cell.get("outputs", [])) for cell in stored["cells"]
    ]
    assert json.dumps(ran)
