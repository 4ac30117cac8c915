from django.urls import path

from markets.views import datasets, downloads, imports

app_name = "markets"
urlpatterns = [
    path("datasets/", datasets.dataset_list, name="dataset_list"),
    path("datasets/new/", imports.dataset_new, name="dataset_new"),
    path("datasets/new/download/", downloads.download_new, name="download_new"),
    path("datasets/demo/", imports.demo_load, name="demo_load"),
    path("datasets/<int:pk>/", datasets.dataset_detail, name="dataset_detail"),
    path(
        "datasets/<int:pk>/versions/<int:number>/", datasets.dataset_detail, name="version_detail"
    ),
    path(
        "datasets/<int:pk>/versions/<int:number>/chart/",
        datasets.candles_chart,
        name="candles_chart",
    ),
    path(
        "datasets/<int:pk>/versions/<int:number>/candles.parquet",
        datasets.candles_file,
        name="candles_file",
    ),
    path("imports/<int:pk>/", imports.import_detail, name="import_detail"),
    path("imports/<int:pk>/status/", imports.import_status, name="import_status"),
]
