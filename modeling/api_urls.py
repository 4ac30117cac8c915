from django.urls import path

from modeling import api

app_name = "modeling_api"
urlpatterns = [
    path("runs/", api.RunList.as_view(), name="run_list"),
    path("runs/<int:pk>/", api.RunDetail.as_view(), name="run_detail"),
    path("runs/<int:pk>/metrics/", api.RunMetrics.as_view(), name="run_metrics"),
    path("runs/<int:pk>/cancel/", api.RunCancel.as_view(), name="run_cancel"),
    path("runs/<int:pk>/resume/", api.RunResume.as_view(), name="run_resume"),
    path("predictions/<int:pk>/", api.PredictionDetail.as_view(), name="prediction_detail"),
]
