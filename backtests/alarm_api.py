from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from accounts import audit
from accounts.api_views import MemberRequest, VisibleRows
from accounts.rest import Problem, StrictSerializer
from backtests.alarms import EXPLANATION_MAX, Alarmed, NoAlarm, explain_alarm, subject_of
from backtests.models import SeedVerdict
from modeling.models import TrainingRun

EXPLAINED = ("id", "leak_alarm", "alarm_explanation", "alarm_explained_at")


class ExplanationRequest(StrictSerializer):
    text = serializers.CharField(max_length=EXPLANATION_MAX)


class ExplanationSerializer(serializers.ModelSerializer[TrainingRun]):
    class Meta:
        model = TrainingRun
        fields = EXPLAINED


class SeedExplanationSerializer(serializers.ModelSerializer[SeedVerdict]):
    class Meta:
        model = SeedVerdict
        fields = EXPLAINED


class AlarmExplain(VisibleRows):
    """Say why the leak alarm of a run is none. Audited; the verdicts are shown from then on."""

    rows = TrainingRun.objects

    @extend_schema(request=ExplanationRequest, responses=ExplanationSerializer)
    def post(self, request: MemberRequest, pk: int) -> Response:
        run: TrainingRun = self.changeable(pk=pk)
        return Response(ExplanationSerializer(_explained(request, run)).data)


class SeedAlarmExplain(VisibleRows):
    """Say why the leak alarm of a mean prediction over seeds is none. Audited; its verdict is shown from
    then on, unless one of its runs has an alarm that is not explained.
    """

    rows = SeedVerdict.objects

    @extend_schema(request=ExplanationRequest, responses=SeedExplanationSerializer)
    def post(self, request: MemberRequest, pk: int) -> Response:
        row: SeedVerdict = self.changeable(pk=pk)
        return Response(SeedExplanationSerializer(_explained(request, row)).data)


def _explained(request: MemberRequest, row: Alarmed) -> Alarmed:
    body = ExplanationRequest(data=request.data)
    body.is_valid(raise_exception=True)
    text = body.validated_data["text"]
    try:
        row = explain_alarm(row, user=request.user, text=text)
    except NoAlarm as error:
        raise Problem("no_alarm", str(error), status_code=409) from None
    audit.record(
        "explain_alarm",
        workspace=row.workspace,
        user=request.user,
        subject=subject_of(row),
        request=request,
        text=text,
        reasons=row.leak_alarm["reasons"],
    )
    return row
