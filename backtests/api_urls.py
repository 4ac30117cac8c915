from django.urls import path

from backtests import (
    alarm_api,
    api,
    compare_api,
    experiment_api,
    holdout_api,
    report_api,
    study_api,
    trial_api,
)

app_name = "backtests_api"
urlpatterns = [
    path("experiments/", experiment_api.ExperimentList.as_view(), name="experiment_list"),
    path(
        "experiments/estimate/",
        experiment_api.ExperimentEstimate.as_view(),
        name="experiment_estimate",
    ),
    path(
        "experiments/<int:pk>/", experiment_api.ExperimentDetail.as_view(), name="experiment_detail"
    ),
    path(
        "experiments/<int:pk>/runs/",
        experiment_api.ExperimentRuns.as_view(),
        name="experiment_runs",
    ),
    path(
        "experiments/<int:pk>/archive/",
        experiment_api.ExperimentArchive.as_view(),
        name="experiment_archive",
    ),
    path(
        "experiments/<int:pk>/unarchive/",
        experiment_api.ExperimentUnarchive.as_view(),
        name="experiment_unarchive",
    ),
    path("experiments/<int:pk>/holdout/", holdout_api.ExperimentHoldout.as_view(), name="holdout"),
    path("runs/<int:pk>/explanation/", alarm_api.AlarmExplain.as_view(), name="alarm_explain"),
    path(
        "seed-verdicts/<int:pk>/explanation/",
        alarm_api.SeedAlarmExplain.as_view(),
        name="seed_alarm_explain",
    ),
    path("compare/", compare_api.Compare.as_view(), name="compare"),
    path("studies/", study_api.StudyList.as_view(), name="study_list"),
    path("studies/<int:pk>/", study_api.StudyDetail.as_view(), name="study_detail"),
    path("studies/<int:pk>/cancel/", study_api.StudyCancel.as_view(), name="study_cancel"),
    path("studies/<int:pk>/resume/", study_api.StudyResume.as_view(), name="study_resume"),
    path("trials/", trial_api.TrialList.as_view(), name="trial_list"),
    path("trials/summary/", trial_api.TrialSummary.as_view(), name="trial_summary"),
    path("backtests/", api.BacktestList.as_view(), name="backtest_list"),
    path("backtests/<int:pk>/", api.BacktestDetail.as_view(), name="backtest_detail"),
    path("backtests/<int:pk>/trades/", report_api.BacktestTrades.as_view(), name="backtest_trades"),
    path(
        "backtests/<int:pk>/trades.csv",
        report_api.BacktestTradesCsv.as_view(),
        name="backtest_trades_csv",
    ),
    path("backtests/<int:pk>/equity/", report_api.BacktestEquity.as_view(), name="backtest_equity"),
    path(
        "backtests/<int:pk>/report.json",
        report_api.BacktestReport.as_view(),
        name="backtest_report",
    ),
]
