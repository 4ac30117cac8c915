from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView
from rest_framework.permissions import AllowAny

urlpatterns = [
    path("", include("jobs.api_urls")),
    path("", include("markets.api_urls")),
    path("", include("modeling.api_urls")),
    path("", include("backtests.api_urls")),
    path(
        "schema/",
        SpectacularAPIView.as_view(
            permission_classes=[AllowAny],
            renderer_classes=SpectacularAPIView.renderer_classes,
        ),
        name="schema",
    ),
]
