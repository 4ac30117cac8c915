from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.response import Response

from accounts.api_views import ApiView, MemberRequest, VisibleRows
from jobs.api import resumed, started
from markets.api.imports import ImportSerializer, job_of
from markets.models import Dataset, Import
from markets.services.downloads import go_on, launch_download, launch_newer
from markets.specs import DownloadSpec
from specs.serializers import inlined


class DownloadCreate(ApiView):
    """Download public candles of an exchange as a new version; no address is ever taken."""

    @extend_schema(
        request={"application/json": inlined(DownloadSpec.model_json_schema())},
        responses={202: ImportSerializer},
    )
    def post(self, request: MemberRequest) -> Response:
        spec = DownloadSpec.parse(request.data)
        workspace = request.membership.workspace
        row, headers = started(
            request,
            workspace,
            "download",
            lambda key: launch_download(
                workspace=workspace, user=request.user, spec=spec, idempotency_key=key
            ),
            job_of(request),
        )
        return Response(ImportSerializer(row).data, status=202, headers=headers)


class DatasetNewer(VisibleRows):
    """Download the bars that closed since the latest version; both become the next one."""

    rows = Dataset.objects.exclude(latest=None).select_related(
        "latest__workspace", "latest__dataset__instrument"
    )

    @extend_schema(request=None, responses={202: ImportSerializer})
    def post(self, request: MemberRequest, pk: int) -> Response:
        dataset = self.changeable(pk=pk)
        row, headers = started(
            request,
            dataset.workspace,
            "download",
            lambda key: launch_newer(dataset.latest, user=request.user, idempotency_key=key),
            job_of(request),
        )
        return Response(ImportSerializer(row).data, status=202, headers=headers)


class DownloadResume(VisibleRows):
    """Go on with a download that ended early; what has come is not asked for again."""

    rows = Import.objects.select_related("job", "version", "workspace")

    @extend_schema(request=None, responses={202: ImportSerializer})
    def post(self, request: MemberRequest, pk: int) -> Response:
        row = self.changeable(pk=pk)
        _, headers = resumed(request, row, go_on, subject=row.sent_name)
        return Response(ImportSerializer(row).data, status=202, headers=headers)
