from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView, LogoutView, PasswordChangeView
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse_lazy
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts import audit
from accounts.editing import user_of
from accounts.forms import SignInForm
from accounts.models import SignInLink, token_digest
from accounts.services import LinkNoLongerValid, use_sign_in_link

PASSWORD_BACKEND = "django.contrib.auth.backends.ModelBackend"


@method_decorator(login_not_required, name="dispatch")
class SignIn(LoginView):
    template_name = "accounts/login.html"
    authentication_form = SignInForm
    redirect_authenticated_user = True

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        audit.record("sign_in", user=form.get_user(), request=self.request)
        return super().form_valid(form)

    def form_invalid(self, form: AuthenticationForm) -> HttpResponse:
        # A name that the form refused is not kept: it may hold what the database cannot store.
        subject = form.cleaned_data.get("username", "")
        audit.record("sign_in_failed", subject=subject, request=self.request)
        return self.render_to_response(self.get_context_data(form=form), status=400)


class SignOut(LogoutView):
    http_method_names = ["post", "options"]


class PasswordChange(PasswordChangeView):
    template_name = "accounts/password_change.html"
    success_url = reverse_lazy("accounts:password_change")

    def form_valid(self, form: Any) -> HttpResponse:  # Any: the form class is Django's choice
        response = super().form_valid(form)
        audit.record("password_changed", user=user_of(self.request), request=self.request)
        messages.success(self.request, "The password is changed.")
        return response

    def form_invalid(self, form: Any) -> HttpResponse:  # Any: as above
        return self.render_to_response(self.get_context_data(form=form), status=400)


@login_not_required
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def sign_in_link(request: HttpRequest, token: str) -> HttpResponse:
    """Signs in with a link that works once; opening it alone does not use it up.

    Mail scanners and previews open links, but they press no button.
    """
    if request.method != "POST":
        if not is_usable(token):
            return dead_link(request)
        return render(request, "accounts/sign_in_link.html")
    try:
        user = use_sign_in_link(token)
    except LinkNoLongerValid:
        return dead_link(request)
    login(request, user, backend=PASSWORD_BACKEND)
    audit.record("sign_in_link", user=user, request=request)
    return redirect("web:dashboard")


def is_usable(token: str) -> bool:
    """Whether the link behind this token would sign somebody in just now."""
    links = SignInLink.objects.filter(digest=token_digest(token), used_at=None)
    return links.filter(expires_at__gt=timezone.now()).exists()


def dead_link(request: HttpRequest) -> HttpResponse:
    context = {"form": SignInForm(request), "link_is_dead": True}
    return render(request, "accounts/login.html", context, status=410)


def locked_out(request: HttpRequest, *details: Any) -> HttpResponse:
    """Five wrong passwords: the same answer for known and unknown names."""
    wait_s = int(settings.AXES_COOLOFF_TIME * 3600)
    context = {"form": SignInForm(request), "locked_minutes": wait_s // 60}
    response = render(request, "accounts/login.html", context, status=429)
    response["Retry-After"] = str(wait_s)
    return response
