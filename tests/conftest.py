"""One embedded cluster for the whole run; each worker of xdist has databases of its own in it."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings

from embedded.services import ClusterUrls, temporary_cluster
from tests.dealing import WholeFiles, put_long_files_first

if TYPE_CHECKING:
    from accounts.models import User, Workspace
    from markets.models import DatasetVersion

os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
VALKEY_DATABASES = 16
_running = ExitStack()


def pytest_configure(config: pytest.Config) -> None:
    """Start Postgres and Valkey once, and point the settings at them and at a temporary state."""
    if hasattr(config, "workerinput"):
        database, broker = config.workerinput["cluster"]
    else:
        urls: ClusterUrls = _running.enter_context(temporary_cluster())
        database, broker = urls.database, urls.broker
        config.stash[_cluster] = (database, broker)
    state = Path(tempfile.mkdtemp(prefix="outsample-test-"))
    _running.callback(shutil.rmtree, state, ignore_errors=True)
    use_cluster(database, broker, state)


_cluster = pytest.StashKey[tuple[str, str]]()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node) -> None:
    """A worker's own database in Valkey; pytest-django makes its own one in Postgres."""
    database, broker = node.config.stash[_cluster]
    number = int(node.workerinput["workerid"].removeprefix("gw")) % VALKEY_DATABASES
    node.workerinput["cluster"] = (database, f"{broker}?virtual_host={number}")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> WholeFiles:
    return WholeFiles(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        put_long_files_first(items)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Packed bytes hold the second of their making: the ids of two workers would differ."""
    return argname if isinstance(val, bytes) else None


def pytest_unconfigure(config: pytest.Config) -> None:
    _running.close()


def use_cluster(database_url: str, broker_url: str, state: Path) -> None:
    from config import environment

    entry = environment.database(database_url)
    settings.DATABASES["default"] |= {**entry, "NAME": "outsample"}
    settings.CELERY_BROKER_URL = broker_url
    settings.STATE = state
    settings.STATIC_ROOT = state / "static"
    settings.MEDIA_ROOT = state / "files"
    settings.STORAGES = {
        "default": {
            "BACKEND": "artifacts.storage.AtomicFileSystemStorage",
            "OPTIONS": {"location": state / "files"},
        },
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }
    settings.AXES_ENABLED = False
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "DEFAULT_THROTTLE_CLASSES": []}
    os.environ["OUTSAMPLE_TEST_DATABASE"] = database_url


# Rows are imported where they are made: Django is set up after this file has been read.


@pytest.fixture
def alice(db) -> User:
    """The owner of a workspace of her own."""
    from tests.factories import make_user

    return make_user("alice")


@pytest.fixture
def signed_in(client, alice) -> None:
    """The browser of this test is hers."""
    client.force_login(alice)


@pytest.fixture
def workspace(alice) -> Workspace:
    return alice.first_workspace()


@pytest.fixture
def version(workspace) -> DatasetVersion:
    """Sealed candles of hers."""
    from tests.factories import make_version

    return make_version(workspace)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder with real candles, or a skip with the reason."""
    folder = os.environ.get("OUTSAMPLE_TEST_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("OUTSAMPLE_TEST_DATA does not name a folder with real candles")
    return Path(folder)
