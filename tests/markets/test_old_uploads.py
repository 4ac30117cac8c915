from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.files.storage import default_storage
from django.db.models import F

from jobs import cleaning
from jobs.models import Job
from jobs.reconciler import reconcile
from jobs.statuses import JobStatus
from markets.models import Import
from markets.services.imports import forget_old_uploads
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def workspace():
    return factories.make_user("alice").first_workspace()


def make_import(workspace, status, *, hours):
    """An import with its upload, whose job ended so many hours ago."""
    row = factories.make_import(workspace, status=status)
    row.upload = factories.make_stored(
        workspace, lambda path: path.write_bytes(f"{row.pk}".encode()), "upload"
    )
    row.save()
    Job.objects.filter(pk=row.job_id).update(ended_at=F("ended_at") - timedelta(hours=hours))
    return row


@pytest.mark.parametrize("status", [JobStatus.FAILED, JobStatus.ERRORED, JobStatus.CANCELLED])
def test_the_upload_of_an_import_that_ended_a_day_ago_is_deleted(
    workspace, status, django_capture_on_commit_callbacks
):
    row = make_import(workspace, status, hours=24)
    key = row.upload.key
    with django_capture_on_commit_callbacks(execute=True):
        assert forget_old_uploads() == 1
    assert Import.objects.get(pk=row.pk).upload is None
    assert not default_storage.exists(key)


def test_a_younger_upload_is_kept_so_that_the_mapping_can_be_corrected(workspace):
    row = make_import(workspace, JobStatus.FAILED, hours=23)
    assert forget_old_uploads() == 0
    assert Import.objects.get(pk=row.pk).upload is not None


def test_the_upload_of_work_that_still_runs_is_kept_however_old(workspace):
    row = make_import(workspace, JobStatus.RUNNING, hours=0)
    Job.objects.update(created_at=F("created_at") - timedelta(hours=99))
    assert forget_old_uploads() == 0
    assert Import.objects.get(pk=row.pk).upload is not None


def test_the_reconciler_forgets_old_uploads(workspace, settings, tmp_path):
    make_import(workspace, JobStatus.FAILED, hours=25)
    settings.STATE = tmp_path
    assert forget_old_uploads in cleaning._cleaners
    assert reconcile().deleted_files == 1
    assert Import.objects.get().upload is None
