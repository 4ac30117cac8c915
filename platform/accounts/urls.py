from django.urls import path

from accounts import views

app_name = "accounts"
urlpatterns = [
    path("login/", views.SignIn.as_view(), name="login"),
    path("logout/", views.SignOut.as_view(), name="logout"),
    path("signin/<str:token>/", views.sign_in_link, name="sign_in_link"),
    path("password/", views.PasswordChange.as_view(), name="password_change"),
]
