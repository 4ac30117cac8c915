from django.urls import path

from jobs import api

app_name = "jobs_api"
urlpatterns = [
    path("jobs/", api.JobList.as_view(), name="job_list"),
    path("jobs/<uuid:pk>/", api.JobDetail.as_view(), name="job_detail"),
    path("jobs/<uuid:pk>/cancel/", api.JobCancel.as_view(), name="job_cancel"),
]
