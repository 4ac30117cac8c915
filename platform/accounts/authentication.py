from __future__ import annotations

from typing import Any

from django.utils import timezone
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from accounts.models import ApiToken, token_digest


class BearerTokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer outs_…`; the user then sees only the token's workspace."""

    def authenticate(self, request: Request) -> tuple[Any, ApiToken] | None:
        parts = get_authorization_header(request).split()
        if not parts or parts[0].lower() != b"bearer":
            return None
        if len(parts) != 2:
            raise AuthenticationFailed("Expected: Authorization: Bearer TOKEN.")
        try:
            digest = token_digest(parts[1].decode("ascii"))
        except UnicodeDecodeError:
            raise AuthenticationFailed("The token is not valid.") from None
        token = ApiToken.objects.select_related("user").filter(digest=digest).first()
        if token is None or not token.is_valid or not token.user.is_active:
            raise AuthenticationFailed("The token is unknown, expired or revoked. Make a new one.")
        now = timezone.now()
        if token.last_used_at is None or (now - token.last_used_at).total_seconds() > 60:
            ApiToken.objects.filter(pk=token.pk).update(last_used_at=now)
        token.user.token_workspace_id = token.workspace_id  # type: ignore[attr-defined]  # read by visible_to
        return token.user, token

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"
