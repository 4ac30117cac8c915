from django.urls import path

from modeling import api, registry_api

app_name = "modeling_api"
urlpatterns = [
    path("runs/", api.RunList.as_view(), name="run_list"),
    path("runs/<int:pk>/", api.RunDetail.as_view(), name="run_detail"),
    path("runs/<int:pk>/metrics/", api.RunMetrics.as_view(), name="run_metrics"),
    path("runs/<int:pk>/cancel/", api.RunCancel.as_view(), name="run_cancel"),
    path("runs/<int:pk>/resume/", api.RunResume.as_view(), name="run_resume"),
    path("models/", registry_api.ModelList.as_view(), name="model_list"),
    path("models/<int:pk>/", registry_api.ModelDetail.as_view(), name="model_detail"),
    path("models/<int:pk>/card/", registry_api.ModelCard.as_view(), name="model_card"),
    path("models/<int:pk>/weights/", registry_api.ModelWeights.as_view(), name="model_weights"),
    path(
        "models/<int:pk>/predictions/",
        registry_api.ModelPredictions.as_view(),
        name="model_predictions",
    ),
    path("predictions/<int:pk>/", api.PredictionDetail.as_view(), name="prediction_detail"),
]
