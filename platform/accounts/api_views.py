"""Base classes of API routes. REST framework loads accounts.rest while it loads its views; not this."""

from __future__ import annotations

from typing import Any

from django.http import Http404
from django.shortcuts import get_object_or_404
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.permissions import SAFE_METHODS, AllowAny
from rest_framework.request import Request
from rest_framework.views import APIView

from accounts.models import Membership, User
from accounts.permissions import require_editor
from accounts.rest import FiniteJSONRenderer, Problem


class MemberRequest(Request):
    """A request past the permission check: signed in, and acting for a workspace."""

    user: User
    membership: Membership


class ApiView(APIView):
    """Base of every route: finite numbers, and no query parameter that it does not know."""

    renderer_classes = [FiniteJSONRenderer]
    parameters: frozenset[str] = frozenset()

    def perform_authentication(self, request: Request) -> None:
        # Counted before anything is refused, so that guessing tokens is throttled too.
        try:
            super().perform_authentication(request)
        finally:
            super().check_throttles(request)

    def check_throttles(self, request: Request) -> None:
        """Nothing: they were checked with the authentication."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if request.method not in SAFE_METHODS:
            return
        known = {"format", *self.parameters}
        for name in request.query_params:
            if name not in known:
                text = f"unknown parameter; known: {', '.join(sorted(known))}"
                raise Problem.of_field(name[:80], text)


class VisibleRows(ApiView):
    """The rows a user may see, and nothing else."""

    rows: Any  # Any: a QuerySet of any row of a workspace

    def get_queryset(self) -> Any:
        return self.rows.all().visible_to(self.request.user)

    def found(self, **lookup: Any) -> Any:
        """One visible row, or 404."""
        return get_object_or_404(self.get_queryset(), **lookup)

    def changeable(self, **lookup: Any) -> Any:
        """One visible row that this user may change: 404 or 403 `needs_editor` otherwise."""
        row = self.found(**lookup)
        members = Membership.objects.filter(workspace=row.workspace_id, user=self.request.user.pk)
        require_editor(members.first())
        return row


class VisibleList(VisibleRows):
    """A list of visible rows, by pages."""

    parameters = frozenset({"page", "page_size"})


class UnknownAddress(ApiView):
    """404 in our own form for an address that the API does not have."""

    schema = None
    permission_classes = [AllowAny]

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        raise Http404


class BearerSchema(OpenApiAuthenticationExtension):
    target_class = "accounts.authentication.BearerTokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer"}
