from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from accounts import audit
from accounts.api_views import MemberRequest, VisibleRows
from accounts.rest import Problem, StrictSerializer
from backtests.alarms import EXPLANATION_MAX, NoAlarm, explain_alarm
from modeling.models import TrainingRun


class ExplanationRequest(StrictSerializer):
    text = serializers.CharField(max_length=EXPLANATION_MAX)


class ExplanationSerializer(serializers.ModelSerializer[TrainingRun]):
    class Meta:
        model = TrainingRun
        fields = ("id", "leak_alarm", "alarm_explanation", "alarm_explained_at")


class AlarmExplain(VisibleRows):
    """Say why the leak alarm of a run is none. Audited; the verdicts are shown from then on."""

    rows = TrainingRun.objects

    @extend_schema(request=ExplanationRequest, responses=ExplanationSerializer)
    def post(self, request: MemberRequest, pk: int) -> Response:
        run = self.changeable(pk=pk)
        body = ExplanationRequest(data=request.data)
        body.is_valid(raise_exception=True)
        text = body.validated_data["text"]
        try:
            run = explain_alarm(run, user=request.user, text=text)
        except NoAlarm as error:
            raise Problem("no_alarm", str(error), status_code=409) from None
        audit.record(
            "explain_alarm",
            workspace=run.workspace,
            user=request.user,
            subject=f"run {run.pk}",
            request=request,
            text=text,
            reasons=run.leak_alarm["reasons"],
        )
        return Response(ExplanationSerializer(run).data)
