"""Settings read from the environment by helpers that refuse a bad value at start."""

import os
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured


def text(name: str, default: str = "") -> str:
    return os.environ.get(name, default)


def flag(name: str) -> bool:
    value = text(name, "0")
    if value not in ("0", "1"):
        raise ImproperlyConfigured(f"{name} is {value!r}; expected 0 or 1")
    return value == "1"


def number(name: str, default: int, *, at_least: int = 0) -> int:
    value = text(name, str(default))
    if not value.isascii() or not value.isdigit() or int(value) < at_least:
        raise ImproperlyConfigured(f"{name} is {value!r}; expected a whole number from {at_least}")
    return int(value)


def choice(name: str, *choices: str) -> str:
    """One of the choices; the first where nothing is set."""
    value = text(name, choices[0])
    if value not in choices:
        raise ImproperlyConfigured(f"{name} is {value!r}; expected {' or '.join(choices)}")
    return value


def gpus() -> int:
    """NVIDIA GPUs that this process may use, counted without loading what would compute on them."""
    found = len(list(Path("/dev").glob("nvidia[0-9]*")))
    visible = text("CUDA_VISIBLE_DEVICES", "all")
    return found if visible == "all" else min(found, len([n for n in visible.split(",") if n]))


def names(name: str, default: str) -> list[str]:
    return [part.strip() for part in text(name, default).split(",") if part.strip()]


def required(name: str) -> str:
    value = text(name)
    if not value:
        raise ImproperlyConfigured(f"{name} is not set; production needs it")
    return value


def state_folder() -> Path:
    value = text("OUTSAMPLE_STATE")
    if value:
        return Path(value).absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/outsample")
    return Path.home() / ".local" / "share" / "outsample"


def database(url: str) -> dict[str, object]:
    """Django's database entry for postgresql://user:password@host:port/name?host=/socket/folder."""
    parts = urlsplit(url)
    if parts.scheme not in ("postgres", "postgresql"):
        raise ImproperlyConfigured(
            f"DATABASE_URL begins with {parts.scheme!r}; expected postgresql"
        )
    options = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": options.pop("host", parts.hostname or ""),
        "PORT": str(parts.port or ""),
        "CONN_MAX_AGE": 0,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {"connect_timeout": 5, **options},
    }
