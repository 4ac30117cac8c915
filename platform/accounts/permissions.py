from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from accounts.middleware import membership_of
from accounts.models import ApiToken, Membership, Scope

if TYPE_CHECKING:
    # REST framework loads this class while its own views are being imported.
    from rest_framework.views import APIView


class InWorkspace(BasePermission):
    """Reading needs a membership; everything else an editor and a token that may launch."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        membership = membership_of(request)
        if membership is None:
            return False
        request.membership = membership  # type: ignore[attr-defined]  # see MemberRequest
        if request.method in SAFE_METHODS:
            return True
        require_launch_scope(request)
        require_editor(membership)
        return True


def require_launch_scope(request: Request) -> None:
    """Raises PermissionDenied with the code missing_scope for a token that may only read."""
    if isinstance(request.auth, ApiToken) and request.auth.scope == Scope.READ:
        raise PermissionDenied(
            "This token may only read. Make one with the scope launch.", "missing_scope"
        )


def require_editor(membership: Membership | None) -> Membership:
    """Raises PermissionDenied with the code needs_editor for viewers."""
    if membership is None or not membership.may_edit:
        raise PermissionDenied(
            "This needs the role editor. Ask an owner of the workspace.", "needs_editor"
        )
    return membership
