from django.urls import path

from modeling import prediction_views, registry_views, views

app_name = "modeling"
urlpatterns = [
    path("runs/", views.run_list, name="run_list"),
    path("runs/<int:pk>/", views.run_detail, name="run_detail"),
    path("runs/<int:pk>/status/", views.run_status, name="run_status"),
    path("runs/<int:pk>/metrics/", views.run_metrics, name="run_metrics"),
    path("runs/<int:pk>/charts/<str:kind>/", views.run_chart, name="run_chart"),
    path("runs/<int:pk>/resume/", views.run_resume, name="run_resume"),
    path("runs/<int:pk>/predictions/", prediction_views.predictions, name="predictions"),
    path(
        "runs/<int:pk>/predictions/<int:set_pk>/of/<int:place>/chart/",
        prediction_views.predictions_chart,
        name="predictions_chart",
    ),
    path(
        "runs/<int:pk>/predictions/<int:set_pk>/of/<int:place>/curves/<str:head>/",
        prediction_views.predictions_curve,
        name="predictions_curve",
    ),
    path(
        "runs/<int:pk>/predictions/<int:set_pk>.parquet",
        prediction_views.predictions_parquet,
        name="predictions_file",
    ),
    path(
        "runs/<int:pk>/predictions/<int:set_pk>.csv",
        prediction_views.predictions_csv,
        name="predictions_csv",
    ),
    path("models/", registry_views.model_list, name="model_list"),
    path("models/new/", registry_views.model_new, name="model_new"),
    path("models/<int:pk>/", registry_views.model_detail, name="model_detail"),
    path("models/<int:pk>/change/", registry_views.model_change, name="model_change"),
    path("models/<int:pk>/predict/", registry_views.model_predict, name="model_predict"),
    path("models/<int:pk>/card.json", registry_views.model_card_file, name="model_card"),
    path(
        "models/<int:pk>/weights.safetensors",
        registry_views.model_weights_file,
        name="model_weights",
    ),
    path(
        "models/<int:pk>/predictions/<int:prediction>/",
        registry_views.model_prediction,
        name="model_prediction",
    ),
    path(
        "models/<int:pk>/predictions/<int:prediction>/chart/",
        registry_views.model_prediction_chart,
        name="model_prediction_chart",
    ),
    path(
        "models/<int:pk>/predictions/<int:prediction>/curves/<str:head>/",
        registry_views.model_prediction_curve,
        name="model_prediction_curve",
    ),
    path(
        "models/<int:pk>/predictions/<int:prediction>.parquet",
        registry_views.model_prediction_parquet,
        name="model_prediction_parquet",
    ),
    path(
        "models/<int:pk>/predictions/<int:prediction>.csv",
        registry_views.model_prediction_csv,
        name="model_prediction_csv",
    ),
]
