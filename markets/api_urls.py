from django.urls import path

from markets import api

app_name = "markets_api"
urlpatterns = [
    path("datasets/", api.DatasetList.as_view(), name="dataset_list"),
    path("datasets/<int:pk>/", api.DatasetDetail.as_view(), name="dataset_detail"),
    path(
        "datasets/<int:pk>/versions/<int:number>/candles/",
        api.VersionCandles.as_view(),
        name="version_candles",
    ),
    path("imports/<int:pk>/", api.ImportDetail.as_view(), name="import_detail"),
]
