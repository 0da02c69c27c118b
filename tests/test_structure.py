"""What holds the house together: packages, the direction of imports, light imports, no traces of a machine."""

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGING = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
FOLDERS = {"jaxnas": ROOT / "jaxnas"} | {name: ROOT / folder for name, folder in PACKAGING["package-dir"].items()}

MAY_IMPORT = {  # module or package of jaxnas, from the bottom up: those that it may import beside itself
    "errors": "",
    "atomic_file": "",
    "types": "",
    "ranks": "",
    "pinned": "",
    "processor": "",
    "user_cache": "atomic_file",
    "digest": "",
    "user_file": "digest errors",
    "kernels": "",
    "network": "digest kernels",
    "spaces": "errors kernels network pinned user_file",
    "data": "digest errors",
    "scorers": "data digest errors kernels network processor ranks types user_cache user_file",
    "evaluate": "data digest errors network pinned processor scorers spaces types user_cache",
    "tables": "atomic_file errors spaces user_cache",
    "learn": "atomic_file digest errors ranks scorers spaces user_cache",
    "report": "errors ranks",
    "cli": "data errors evaluate pinned scorers spaces user_file",  # and the programs, by name
    "engine": "cli errors pinned",
    "score": "cli data digest engine errors evaluate scorers spaces tables types user_cache",
    "correlate": "cli errors ranks report scorers spaces tables user_file",
    "tables.verbs": "correlate errors ranks score scorers spaces tables types",
    "tables.command": "cli correlate errors tables tables.verbs",
    "tables.__main__": "cli",
    "predict": "cli correlate errors learn ranks score spaces tables",
    "search": "cli data engine errors evaluate learn ranks report scorers spaces tables types user_file",
    "search_signals": "cli data digest errors evaluate ranks scorers search spaces tables types",
    "supernet": "cli data digest errors evaluate network report score scorers spaces tables types",
    "export": "errors kernels network spaces",
    "report.page": "cli correlate errors ranks report scorers search spaces supernet tables types user_cache",
    "report.command": "cli correlate errors report report.page tables",
    "report.__main__": "cli",
    "commands": "cli errors evaluate export network ranks report score scorers search spaces tables tables.verbs types "
    "user_cache",
    "api": "cli correlate data digest errors pinned score scorers search spaces user_cache",
    "__main__": "cli",
    "__init__": "api cli data errors evaluate export scorers spaces tables types",
}
SHARED_BY_SPACES = {  # what families of spaces may import of jaxnas.spaces, beside themselves; never another family
    *("base", "blocks", "cell", "datasets", "graphs", "literals", "own", "product", "prunable", "sampling", "strings"),
    "subset",
}
MOST_MODULES = 15  # of one folder
LIGHT = """
import sys
import flax.nnx, jax, numpy, optax
from jax._src import xla_bridge
modules, config = set(sys.modules), dict(jax.config.values)
import jaxnas
new = {name.partition(".")[0] for name in set(sys.modules) - modules}
assert new <= {"jaxnas", "flax", "jax", "numpy", "optax"} | sys.stdlib_module_names, f"import jaxnas pulls in {new}"
import importlib
for name in sys.argv[1:]:
    importlib.import_module(name)
assert "tensorflow" not in sys.modules
assert "tensorflow_datasets" not in sys.modules
assert dict(jax.config.values) == config, "an import changes JAX's configuration"
assert not xla_bridge._backends, "an import starts a JAX backend"
"""


def modules() -> dict[str, Path]:
    """The files of jaxnas by module name; a package's name ends in `__init__`."""
    return {
        ".".join([package, *path.relative_to(folder).with_suffix("").parts]): path
        for package, folder in FOLDERS.items()
        for path in sorted(folder.rglob("*.py"))
    }


MODULES = modules()
NAMES = [name.removesuffix(".__init__") for name in MODULES]


def layer_of(name: str) -> str:
    """The longest beginning of a module's name, without `jaxnas.`, that `MAY_IMPORT` has; else its first part.

    So a package that is a layer for others, such as `tables`, may have a command, which stands above them.
    """
    parts = name.split(".")[1:]
    return next((known for n in (2, 1) if (known := ".".join(parts[:n])) in MAY_IMPORT), parts[0])


def imports(path: Path) -> Iterator[str]:
    """Yield the absolute name of everything that a file imports, wherever in the file it does."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def tracked() -> list[Path]:
    """The files under version control."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if (ROOT / name).is_file()]


def test_packages_are_the_folders_with_code():
    assert sorted(PACKAGING["packages"]) == sorted({name.rpartition(".")[0] for name in MODULES})
    assert [package for package in PACKAGING["packages"] if f"{package}.__init__" not in MODULES] == []


def test_links_lead_where_the_packaging_says():
    for package, folder in PACKAGING["package-dir"].items():
        link = ROOT / package.replace(".", "/")
        if not link.is_symlink():
            pytest.skip("this copy of the checkout has lost its links")
        assert link.readlink() == Path("..") / folder


@pytest.mark.parametrize("name", NAMES)
def test_every_module_imports_and_says_what_it_is(name):
    assert importlib.import_module(name).__doc__


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_one_way(name):
    layer = layer_of(name)
    assert layer in MAY_IMPORT, f"say in MAY_IMPORT what {layer} may import"
    wanted = {layer_of(used) for used in imports(MODULES[name]) if used.startswith("jaxnas.")}
    wrong = wanted - {layer, *MAY_IMPORT[layer].split()}
    assert not wrong, f"{name} imports {', '.join(sorted(wrong))}"


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("jaxnas.spaces.")])
def test_families_of_spaces_know_only_what_they_share(name):
    family = name.split(".")[2]
    if family == "__init__":
        return
    used = {used.split(".")[2] for used in imports(MODULES[name]) if used.startswith("jaxnas.spaces.")}
    own = {family} if family not in SHARED_BY_SPACES else set()
    assert not used - SHARED_BY_SPACES - own - {"Space"}, name


def test_a_folder_is_small_enough_to_be_looked_over():
    folders = [path.parent for path in MODULES.values()]
    assert max(folders.count(folder) for folder in folders) <= MOST_MODULES + 1  # and __init__


def test_layers_are_listed_from_the_bottom_up():
    order = list(MAY_IMPORT)
    for layer, below in MAY_IMPORT.items():
        assert all(order.index(name) < order.index(layer) for name in below.split()), layer


def test_kernels_need_only_jax_and_numpy():
    used = {wanted.split(".")[0] for name in MODULES if "kernels" in name for wanted in imports(MODULES[name])}
    assert used - sys.stdlib_module_names <= {"jax", "jaxnas", "numpy"}


def test_importing_is_light():
    done = subprocess.run([sys.executable, "-c", LIGHT, *NAMES], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_path_of_a_machine():
    machine = re.compile(r"(?<![\w.~/-])/(?:home|Users|root|work|mnt)/\w+")
    for path in tracked():
        text = path.read_text(errors="ignore")
        found = machine.search(text)
        assert found is None, f"{path.relative_to(ROOT)} has {found[0]!r}"


def test_kernels_and_spaces_are_imported_from_jaxnas():
    for path in [path for path in tracked() if path.suffix == ".py"]:
        assert not {"kernels", "spaces"} & {wanted.split(".")[0] for wanted in imports(path)}, path
