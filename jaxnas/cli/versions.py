"""Which versions run; nothing is imported to find out."""

import importlib.metadata
import platform

PACKAGES = ("jaxnas", "jax", "jaxlib", "flax", "optax", "numpy")  # whose versions a run records


def version(package: str) -> str:
    """The version of an installed package."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def line() -> str:
    """What `jaxnas --version` prints."""
    return f"jaxnas {version('jaxnas')} (jax {version('jax')}, Python {platform.python_version()})"


def recorded() -> dict[str, str]:
    """The versions that a run records, by name."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
