from django.urls import path

from web import views

app_name = "web"
urlpatterns = [
    path("", views.dashboard, name="dashboard"),
    path("help/glossary/", views.glossary, name="glossary"),
    path("theme/", views.theme_set, name="theme_set"),
    path("healthz", views.healthz, name="healthz"),
    path("readyz", views.readyz, name="readyz"),
]
