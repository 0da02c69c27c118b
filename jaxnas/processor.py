"""The kind of processor that the devices of this machine are."""

import platform
from pathlib import Path

import jax

VECTORS = ("avx512f", "avx2", "avx", "sse4_2", "sve", "asimd")  # extensions of processors, the widest first


def processor() -> str:
    """The kind of processor that the devices are: those of one kind compute the same bits.

    For a CPU that is the model and its widest vector extension.
    """
    device = jax.local_devices()[0]
    if device.platform != "cpu":
        return f"{device.platform} {device.device_kind}"
    told = _cpuinfo()
    model = told.get("model name") or platform.processor() or platform.machine()
    flags = (told.get("flags") or told.get("Features") or "").split()
    return " ".join(["cpu", model, *[name for name in VECTORS if name in flags][:1]])


def _cpuinfo() -> dict[str, str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n", 1)[0].splitlines()
    except OSError:
        return {}
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
