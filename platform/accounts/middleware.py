from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.utils.functional import SimpleLazyObject

from accounts.models import Membership


def membership_of(request: HttpRequest) -> Membership | None:
    """The membership a request acts with: the token's workspace, else the user's first."""
    user = request.user
    if not user.is_authenticated:
        return None
    rows = Membership.objects.select_related("workspace").filter(user_id=user.pk)
    only = getattr(user, "token_workspace_id", None)
    return (rows.filter(workspace_id=only) if only else rows.order_by("pk")).first()


class WorkspaceMiddleware:
    """Gives each request `membership` (and through it the workspace), fetched when first used."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.membership = SimpleLazyObject(lambda: membership_of(request))  # type: ignore[attr-defined]  # set for views
        return self.get_response(request)
