from django.contrib.contenttypes.models import ContentType
from django.http import HttpRequest, HttpResponse
from django.urls import path


def health(request: HttpRequest) -> HttpResponse:
    return HttpResponse("well")


def rows(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(ContentType.objects.count()))


urlpatterns = [path("healthz", health), path("rows", rows)]
