from django.urls import path

from markets.api import dataset_changes, datasets, downloads, features, imports

app_name = "markets_api"
urlpatterns = [
    path("datasets/", datasets.DatasetList.as_view(), name="dataset_list"),
    path("datasets/<int:pk>/", datasets.DatasetDetail.as_view(), name="dataset_detail"),
    path(
        "datasets/<int:pk>/versions/<int:number>/",
        datasets.VersionDetail.as_view(),
        name="version_detail",
    ),
    path(
        "datasets/<int:pk>/versions/<int:number>/candles/",
        datasets.VersionCandles.as_view(),
        name="version_candles",
    ),
    path(
        "datasets/<int:pk>/versions/<int:number>/candles.csv",
        dataset_changes.VersionCsv.as_view(),
        name="candles_csv",
    ),
    path(
        "datasets/<int:pk>/versions/<int:number>/candles.parquet",
        dataset_changes.VersionParquet.as_view(),
        name="candles_parquet",
    ),
    path(
        "datasets/<int:pk>/versions/<int:number>/accept/",
        dataset_changes.VersionAccept.as_view(),
        name="version_accept",
    ),
    path(
        "datasets/<int:pk>/versions/<int:number>/uses/",
        dataset_changes.VersionUses.as_view(),
        name="version_uses",
    ),
    path(
        "datasets/<int:pk>/resample/",
        dataset_changes.DatasetResample.as_view(),
        name="dataset_resample",
    ),
    path("imports/", imports.ImportList.as_view(), name="import_list"),
    path("imports/<int:pk>/confirm/", imports.ImportConfirm.as_view(), name="import_confirm"),
    path("imports/<int:pk>/preview/", imports.ImportPreview.as_view(), name="import_preview"),
    path("imports/<int:pk>/", imports.ImportDetail.as_view(), name="import_detail"),
    path("imports/<int:pk>/resume/", downloads.DownloadResume.as_view(), name="import_resume"),
    path("downloads/", downloads.DownloadCreate.as_view(), name="download_list"),
    path("datasets/<int:pk>/newer/", downloads.DatasetNewer.as_view(), name="dataset_newer"),
    path("features/", features.FeatureCatalogue.as_view(), name="feature_list"),
    path(
        "datasets/<int:pk>/versions/<int:number>/features/",
        features.VersionFeatures.as_view(),
        name="version_features",
    ),
    path(
        "datasets/<int:pk>/versions/<int:number>/features/report/",
        features.VersionFeatureReport.as_view(),
        name="version_feature_report",
    ),
]
