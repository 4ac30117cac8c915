from django.urls import include, path, re_path
from drf_spectacular.views import SpectacularAPIView
from rest_framework.permissions import AllowAny

from accounts.api_views import UnknownAddress

urlpatterns = [
    path("", include("jobs.api_urls")),
    path("", include("markets.api_urls")),
    path("", include("modeling.api_urls")),
    path("", include("backtests.api_urls")),
    path(
        "schema/",
        SpectacularAPIView.as_view(
            permission_classes=[AllowAny],
            # The bounds of the specs are JSON Schema as OpenAPI writes it since 3.1.
            custom_settings={"OAS_VERSION": "3.1.0"},
        ),
        name="schema",
    ),
    re_path("", UnknownAddress.as_view()),
]
