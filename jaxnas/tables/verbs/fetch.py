"""`jaxnas tables fetch`: a released table into the user's cache."""

import os
from pathlib import Path

from jaxnas.errors import UserError, unknown
from jaxnas.tables import release
from jaxnas.tables.named import Named, available, cached, known_checksums

HOST = "JAXNAS_TABLES"  # environment variable: the address of the folder with the released files
RELEASES = ""  # that address, once there is one


def fetch(name: str) -> tuple[Path, bool]:
    """The file of a table, and whether it came over the network just now; so do its spectra, where they are released.

    Raises:
      UserError: there is no such table, no host that has it, or what came is not what was released.
    """
    tables: dict[str, Named] = {table.name: table for table in available()}
    if name in tables and (path := tables[name].path) is not None:
        return path, False
    host = os.environ.get(HOST) or RELEASES
    if not host:
        raise UserError(
            f"{name}: no host has released tables yet; set {HOST} to the address of a folder that has them, or score "
            "the space and say `jaxnas tables build DIR`"
        )
    if name not in tables:
        raise unknown("table", name, tables)
    path = cached(name)
    for file in (path, release.spectra_beside(path)):
        if file.name in known_checksums():
            _download(f"{host.rstrip('/')}/{file.name}", file)
    return path, True


def _download(address: str, path: Path) -> None:
    import pooch

    pooch.get_logger().setLevel("ERROR")
    known = known_checksums()[path.name]
    try:
        pooch.retrieve(address, f"sha256:{known}", fname=path.name, path=path.parent)
    except ValueError as error:  # neither a known kind of address nor the right file
        reason = "it is not the file that was released" if "hash" in str(error).lower() else str(error)
        raise UserError(f"{address}: {reason}; check {HOST}") from None
    except OSError as error:  # requests' errors are OSErrors
        raise UserError(f"{address} cannot be fetched ({_short(error)}); check {HOST} and the network") from None


def _short(error: OSError) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    return f"HTTP {status}" if status else type(error).__name__
