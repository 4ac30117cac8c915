from django.urls import path

from markets.views import dataset_changes, datasets, downloads, exports, features, imports

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
        exports.candles_parquet,
        name="candles_file",
    ),
    path(
        "datasets/<int:pk>/versions/<int:number>/candles.csv",
        exports.candles_text,
        name="candles_csv",
    ),
    path(
        "datasets/<int:pk>/versions/<int:number>/accept/",
        dataset_changes.findings_accept,
        name="findings_accept",
    ),
    path(
        "datasets/<int:pk>/versions/<int:number>/resample/",
        dataset_changes.version_resample,
        name="version_resample",
    ),
    path(
        "datasets/<int:pk>/versions/<int:number>/delete/",
        dataset_changes.version_delete,
        name="version_delete",
    ),
    path("datasets/<int:pk>/delete/", dataset_changes.dataset_delete, name="dataset_delete"),
    path("datasets/<int:pk>/rename/", dataset_changes.dataset_rename, name="dataset_rename"),
    path("features/", features.feature_catalogue, name="feature_catalogue"),
    path(
        "datasets/<int:pk>/versions/<int:number>/features/compute/",
        features.features_compute,
        name="features_compute",
    ),
    path(
        "datasets/<int:pk>/versions/<int:number>/features/correlation/",
        features.correlation_chart,
        name="correlation_chart",
    ),
    path(
        "datasets/<int:pk>/versions/<int:number>/features/<str:name>/<int:scale>/",
        features.feature_chart,
        name="feature_chart",
    ),
    path("imports/<int:pk>/", imports.import_detail, name="import_detail"),
    path("imports/<int:pk>/confirm/", imports.import_confirm, name="import_confirm"),
    path("imports/<int:pk>/preview/", imports.import_preview, name="import_preview"),
    path("imports/<int:pk>/status/", imports.import_status, name="import_status"),
    path("imports/<int:pk>/resume/", downloads.download_resume, name="download_resume"),
    path("datasets/<int:pk>/newer/", downloads.download_newer, name="download_newer"),
]
