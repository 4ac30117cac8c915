from __future__ import annotations

import secrets
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from accounts.models import Membership, Role, SignInLink, User, Workspace, token_digest

SIGN_IN_MINUTES = 15


class LinkNoLongerValid(Exception):
    """The sign-in link is unknown, used or expired."""


@transaction.atomic
def create_user(username: str, *, password: str = "", workspace_name: str = "") -> tuple[User, str]:
    """A new user who owns a new workspace, and the password (random when none is given)."""
    password = password or secrets.token_urlsafe(12)
    user = User.objects.create_user(username, password=password)
    workspace = Workspace.objects.create(name=workspace_name or f"{username}'s workspace")
    Membership.objects.create(workspace=workspace, user=user, role=Role.OWNER)
    return user, password


def make_sign_in_link(user: User) -> str:
    """The path of a new link that works once, for fifteen minutes."""
    token = secrets.token_urlsafe(32)
    SignInLink.objects.create(
        user=user,
        digest=token_digest(token),
        expires_at=timezone.now() + timedelta(minutes=SIGN_IN_MINUTES),
    )
    return f"/signin/{token}/"


def use_sign_in_link(token: str) -> User:
    """Use the link up. Raises LinkNoLongerValid when it is unknown, used or expired."""
    links = SignInLink.objects.filter(
        digest=token_digest(token), used_at=None, expires_at__gt=timezone.now()
    )
    if links.update(used_at=timezone.now()) != 1:
        raise LinkNoLongerValid
    return SignInLink.objects.select_related("user").get(digest=token_digest(token)).user
