from django.urls import path

from backtests import (
    alarm_views,
    archive_views,
    compare_views,
    experiment_views,
    holdout_views,
    new_views,
    study_views,
    trial_views,
    views,
)

app_name = "backtests"
urlpatterns = [
    path("experiments/", experiment_views.experiment_list, name="experiment_list"),
    path("experiments/new/", experiment_views.experiment_new, name="experiment_new"),
    path("experiments/estimate/", experiment_views.experiment_estimate, name="experiment_estimate"),
    path("experiments/<int:pk>/", experiment_views.experiment_detail, name="experiment_detail"),
    path(
        "experiments/<int:pk>/launch/", experiment_views.experiment_launch, name="experiment_launch"
    ),
    path(
        "experiments/<int:pk>/archive/", archive_views.experiment_archive, name="experiment_archive"
    ),
    path(
        "experiments/<int:pk>/unarchive/",
        archive_views.experiment_unarchive,
        name="experiment_unarchive",
    ),
    path("experiments/<int:pk>/holdout/", holdout_views.holdout_open, name="holdout_open"),
    path("experiments/<int:pk>/study/", study_views.study_new, name="study_new"),
    path("studies/", study_views.study_list, name="study_list"),
    path("studies/<int:pk>/", study_views.study_detail, name="study_detail"),
    path("studies/<int:pk>/status/", study_views.study_status, name="study_status"),
    path("studies/<int:pk>/cancel/", study_views.study_cancel, name="study_cancel"),
    path("studies/<int:pk>/resume/", study_views.study_resume, name="study_resume"),
    path("studies/<int:pk>/table.csv", study_views.study_csv, name="study_csv"),
    path("studies/<int:pk>/table.json", study_views.study_json, name="study_json"),
    path("runs/<int:pk>/explanation/", alarm_views.alarm_explain, name="alarm_explain"),
    path(
        "seed-verdicts/<int:pk>/explanation/",
        alarm_views.seed_alarm_explain,
        name="seed_alarm_explain",
    ),
    path("trials/", trial_views.trial_list, name="trial_list"),
    path("compare/", compare_views.compare, name="compare"),
    path("compare/loss/", compare_views.compare_loss, name="compare_loss"),
    path("compare/equity/", compare_views.compare_equity, name="compare_equity"),
    path("compare/table.csv", compare_views.compare_file, name="compare_file"),
    path("backtests/", views.backtest_list, name="backtest_list"),
    path("backtests/new/", new_views.backtest_new, name="backtest_new"),
    path("backtests/<int:pk>/", views.backtest_detail, name="backtest_detail"),
    path("backtests/<int:pk>/status/", views.backtest_status, name="backtest_status"),
    path("backtests/<int:pk>/charts/<str:kind>/", views.backtest_chart, name="backtest_chart"),
    path("backtests/<int:pk>/trades.csv", views.trades_file, name="trades_file"),
    path("backtests/<int:pk>/report.json", views.report_file, name="report_file"),
]
