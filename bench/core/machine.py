"""What the figures depend on: device, processor, versions; and what a process has used of it."""

import os
import platform
import resource
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax

from jaxnas.evaluate import devices

PACKAGES = ("jax", "jaxlib", "flax", "numpy", "torch")
RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # of `ru_maxrss`, in bytes


def provenance() -> dict[str, Any]:
    """Return when, where and with what a record is made."""
    return {
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": machine(),
        "versions": {"python": platform.python_version()} | {name: installed(name) for name in PACKAGES},
    }


def machine() -> dict[str, Any]:
    """The devices of JAX, the processor, its CPUs and how busy they are before the run."""
    return {
        "backend": jax.default_backend(),
        "device": jax.devices()[0].device_kind,
        "devices": len(devices.shared(jax.local_devices())),
        "processor": processor(),
        "cpus": os.cpu_count(),
        "load_average": os.getloadavg()[0],
    }


def processor() -> str:
    """The processor's model."""
    table = Path("/proc/cpuinfo")
    lines = table.read_text().splitlines() if table.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def installed(package: str) -> str | None:
    """The version of a package; None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def peak_memory() -> dict[str, int | None]:
    """The largest resident set of this process so far, and the largest peak of a device, in bytes.

    None for devices that do not tell, such as CPUs.
    """
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    peaks = [own["peak_bytes_in_use"] for own in stats if "peak_bytes_in_use" in own]
    return {
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT,
        "peak_device_bytes": max(peaks, default=None),
    }
