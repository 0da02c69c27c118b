"""The notebooks of the docs: `python .ci/notebooks.py` runs them all and keeps what they print, as text.

It needs nbclient and ipykernel, of the extra `docs`. A test runs them (tests/test_notebooks.py); the site has them as
pages (site.py).
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "docs" / "notebooks"
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
SECONDS = 600  # of a cell, at most


def read(path: Path) -> dict[str, Any]:
    """A notebook as its file has it."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def run(path: Path, folder: Path) -> dict[str, Any]:
    """The notebook, executed in `folder`, with its outputs as text alone."""
    import nbclient
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(notebook, timeout=SECONDS, kernel_name="python3")
    client.execute(cwd=str(folder))
    for number, cell in enumerate(notebook.cells):
        cell["id"] = str(number)
        cell["metadata"] = {}
        if cell.cell_type == "code":
            cell["outputs"] = [kept for output in cell.outputs if (kept := _as_text(output))]
    notebook["metadata"] = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return json.loads(nbformat.writes(notebook))  # type: ignore[no-any-return]


def as_markdown(notebook: dict[str, Any]) -> str:
    """A page: text, code, and what it printed."""
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        if printed := "".join(map(_printed, cell["outputs"])).rstrip():
            parts.append(f"```text\n{printed}\n```")
    return "\n\n".join(parts) + "\n"


def _as_text(output: Any) -> Any:
    """The output with its text alone; None of what is said on standard error."""
    if output.output_type == "stream":
        output["text"] = COLOURS.sub("", output.text)
        return None if output.name == "stderr" else output
    if "data" in output:
        output["data"] = {"text/plain": output.data["text/plain"]}
        output["metadata"] = {}
    return output


def _printed(output: dict[str, Any]) -> str:
    text = output["text"] if output["output_type"] == "stream" else output["data"]["text/plain"]
    return "".join(text).rstrip("\n") + "\n"


if __name__ == "__main__":
    import tempfile

    for path in [FOLDER / name for name in sys.argv[1:]] or sorted(FOLDER.glob("*.ipynb")):
        with tempfile.TemporaryDirectory() as scratch:
            text = json.dumps(run(path, Path(scratch)), indent=1, ensure_ascii=False)
        path.write_text(f"{text}\n", encoding="utf-8")
        print(path.name, len(text), "bytes")
