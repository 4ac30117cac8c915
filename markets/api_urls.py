from django.urls import path

from markets.api import datasets, imports

app_name = "markets_api"
urlpatterns = [
    path("datasets/", datasets.DatasetList.as_view(), name="dataset_list"),
    path("datasets/<int:pk>/", datasets.DatasetDetail.as_view(), name="dataset_detail"),
    path(
        "datasets/<int:pk>/versions/<int:number>/candles/",
        datasets.VersionCandles.as_view(),
        name="version_candles",
    ),
    path("imports/<int:pk>/", imports.ImportDetail.as_view(), name="import_detail"),
]
