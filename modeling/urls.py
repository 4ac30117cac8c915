from django.urls import path

from modeling import views

app_name = "modeling"
urlpatterns = [
    path("runs/", views.run_list, name="run_list"),
    path("runs/<int:pk>/", views.run_detail, name="run_detail"),
    path("runs/<int:pk>/status/", views.run_status, name="run_status"),
    path("runs/<int:pk>/metrics/", views.run_metrics, name="run_metrics"),
    path("runs/<int:pk>/charts/<str:kind>/", views.run_chart, name="run_chart"),
    path("runs/<int:pk>/resume/", views.run_resume, name="run_resume"),
    path("runs/<int:pk>/predictions/", views.predictions, name="predictions"),
    path("runs/<int:pk>/predictions/chart/", views.predictions_chart, name="predictions_chart"),
    path(
        "runs/<int:pk>/predictions/<int:set_pk>.parquet",
        views.predictions_file,
        name="predictions_file",
    ),
]
