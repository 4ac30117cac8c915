from django.urls import include, path

handler500 = "web.views.server_error"

urlpatterns = [
    path("", include("accounts.urls")),
    path("", include("web.urls")),
    path("", include("jobs.urls")),
    path("", include("markets.urls")),
    path("", include("modeling.urls")),
    path("", include("backtests.urls")),
    path("api/", include("config.api_urls")),
]
