from django.urls import path

from markets import views

app_name = "markets"
urlpatterns = [
    path("datasets/", views.dataset_list, name="dataset_list"),
    path("datasets/new/", views.dataset_new, name="dataset_new"),
    path("datasets/demo/", views.demo_load, name="demo_load"),
    path("datasets/<int:pk>/", views.dataset_detail, name="dataset_detail"),
    path("datasets/<int:pk>/versions/<int:number>/", views.dataset_detail, name="version_detail"),
    path(
        "datasets/<int:pk>/versions/<int:number>/chart/",
        views.candles_chart,
        name="candles_chart",
    ),
    path(
        "datasets/<int:pk>/versions/<int:number>/candles.parquet",
        views.candles_file,
        name="candles_file",
    ),
    path("imports/<int:pk>/", views.import_detail, name="import_detail"),
    path("imports/<int:pk>/status/", views.import_status, name="import_status"),
]
