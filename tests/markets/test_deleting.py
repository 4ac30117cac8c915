from __future__ import annotations

import threading
from functools import partial

import pytest
from django.core.files.storage import default_storage
from django.db import connection, transaction

from jobs.statuses import JobStatus
from markets.models import Dataset, DatasetVersion, Import
from markets.services.datasets import (
    InUse,
    NothingToAccept,
    accept_findings,
    delete_dataset,
    delete_version,
    hold_for_use,
    rename_dataset,
)
from specs.declaration import InvalidSpec
from tests import factories


@pytest.fixture
def alice(db, client):
    user = factories.make_user("alice")
    client.force_login(user)
    return user


@pytest.fixture
def workspace(alice):
    return alice.first_workspace()


@pytest.fixture
def version(workspace):
    return factories.make_version(workspace)


def test_a_deleted_version_takes_its_file_and_gives_back_the_one_before(
    version, workspace, django_capture_on_commit_callbacks
):
    longer = factories.make_version(workspace, candles=factories.holed_candles(days=50))
    with django_capture_on_commit_callbacks(execute=True):
        delete_version(longer)
    assert not default_storage.exists(longer.file.key)
    assert default_storage.exists(version.file.key)
    assert Dataset.objects.get().latest == version


def test_the_last_version_takes_its_dataset_with_it_and_imports_keep_their_row(version, workspace):
    row = factories.make_import(workspace, status=JobStatus.SUCCEEDED)
    Import.objects.filter(pk=row.pk).update(version=version)
    delete_version(version)
    assert not Dataset.objects.exists()
    row.refresh_from_db()
    assert row.version is None


def test_a_used_version_stays_and_its_users_are_named(version):
    experiment = factories.make_experiment(version.workspace, version)
    with pytest.raises(InUse, match="experiment Tiny transformer") as refused:
        delete_version(version)
    assert refused.value.uses[0].address == f"/experiments/{experiment.pk}/"
    assert Dataset.objects.get().latest == version


def test_a_dataset_with_one_used_version_stays_whole(version, workspace):
    factories.make_version(workspace, candles=factories.holed_candles(days=50))
    factories.make_experiment(workspace, version)
    with pytest.raises(InUse):
        delete_dataset(version.dataset)
    assert DatasetVersion.objects.count() == 2


def test_a_dataset_is_deleted_with_all_its_versions(version, workspace):
    factories.make_version(workspace, candles=factories.holed_candles(days=50))
    delete_dataset(version.dataset)
    assert not DatasetVersion.objects.exists()
    assert not Dataset.objects.exists()


def test_a_version_that_another_was_derived_from_stays(version, workspace):
    derived = factories.make_version(workspace, symbol="D/E")
    DatasetVersion.objects.filter(pk=derived.pk).update(parent=version)
    with pytest.raises(InUse, match="dataset D/E"):
        delete_version(version)


def test_a_version_that_is_being_resampled_stays(version, workspace):
    row = factories.make_import(workspace)
    Import.objects.filter(pk=row.pk).update(parent=version)
    with pytest.raises(InUse, match=r"import candles\.csv"):
        delete_version(version)


@pytest.mark.django_db(transaction=True)
def test_an_experiment_made_at_the_same_moment_keeps_its_candles(client):
    """The deletion waits for the transaction that names the version, and then finds its user."""
    workspace = factories.make_user("alice").first_workspace()
    version = factories.make_version(workspace)
    seen: list[InUse] = []
    deleting = threading.Thread(target=partial(in_thread, delete_version, version, seen))
    with transaction.atomic():
        hold_for_use([version])
        deleting.start()
        deleting.join(0.3)
        assert deleting.is_alive()
        factories.make_experiment(workspace, version)
    deleting.join()
    assert seen[0].uses[0].kind == "experiment"
    assert DatasetVersion.objects.get() == version


@pytest.mark.django_db(transaction=True)
def test_an_experiment_on_a_version_that_was_just_deleted_is_refused():
    version = factories.make_version(factories.make_user("alice").first_workspace())
    delete_version(version)
    with pytest.raises(InvalidSpec, match="deleted"), transaction.atomic():
        hold_for_use([version])


def test_findings_of_a_version_that_was_just_deleted_are_nothing_to_accept(version):
    delete_version(version)
    with pytest.raises(NothingToAccept, match="was deleted"):
        accept_findings(version, user=factories.make_user("bob"), reason="Known.")


def test_a_name_for_a_dataset_that_was_just_deleted_brings_nothing_back(version):
    delete_dataset(version.dataset)
    rename_dataset(version.dataset, "Late")
    assert not Dataset.objects.exists()


def in_thread(act, version, seen):
    try:
        act(version)
    except InUse as error:
        seen.append(error)
    finally:
        connection.close()
