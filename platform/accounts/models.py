from __future__ import annotations

import hashlib
import secrets
import uuid
from datetime import timedelta
from typing import Any, Self

from django.contrib.auth.models import AbstractUser, AnonymousUser
from django.db import models
from django.utils import timezone

NAME_MAX = 200  # letters of any name that a person gives
NOTES_MAX = 10_000


class User(AbstractUser):
    """A person. The e-mail address is optional: the first user of a machine has none."""

    theme = models.CharField(max_length=8, default="system")

    def first_workspace(self) -> Workspace | None:
        """The workspace that the person's pages and commands act in: that joined first."""
        membership = self.memberships.select_related("workspace").order_by("pk").first()
        return membership.workspace if membership else None


class Workspace(models.Model):
    name = models.CharField(max_length=NAME_MAX)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.name


class Role(models.TextChoices):
    OWNER = "owner", "Owner"
    EDITOR = "editor", "Editor"
    VIEWER = "viewer", "Viewer"


class Membership(models.Model):
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role.choices, default=Role.EDITOR)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace", "user"], name="one_membership_per_user")
        ]

    def __str__(self) -> str:
        return f"{self.user} is {self.role} of {self.workspace}"

    @property
    def may_edit(self) -> bool:
        return self.role in (Role.OWNER, Role.EDITOR)


class VisibleQuerySet(models.QuerySet[Any]):  # Any: one queryset class serves every row type
    """Rows that belong to a workspace. Every page and API query begins with `visible_to`."""

    def visible_to(self, user: User | AnonymousUser) -> Self:
        """The rows a user may see; a token narrows its user to the token's own workspace."""
        if not user.pk:
            return self.none()
        only = getattr(user, "token_workspace_id", None)
        own = Membership.objects.filter(user_id=user.pk).values("workspace_id")
        rows = self.filter(workspace_id__in=own)
        return rows.filter(workspace_id=only) if only else rows


class WorkspaceRow(models.Model):
    """Base of every row that people see."""

    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = VisibleQuerySet.as_manager()

    class Meta:
        abstract = True


class Scope(models.TextChoices):
    READ = "read", "Read"
    LAUNCH = "launch", "Launch"
    ADMIN = "admin", "Admin"


TOKEN_PREFIX = "outs_"
TOKEN_DAYS_MAX = 365


def token_digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


class ApiToken(models.Model):
    """A bearer token of one user for one workspace; only its checksum is stored."""

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="tokens")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="tokens")
    name = models.CharField(max_length=NAME_MAX)
    digest = models.CharField(max_length=64, unique=True)
    scope = models.CharField(max_length=10, choices=Scope.choices, default=Scope.LAUNCH)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return self.name

    @classmethod
    def make(
        cls, *, workspace: Workspace, user: User, name: str, scope: str, days: int = TOKEN_DAYS_MAX
    ) -> tuple[ApiToken, str]:
        """A new row and the token itself, which cannot be shown again."""
        token = TOKEN_PREFIX + secrets.token_urlsafe(30)
        row = cls.objects.create(
            workspace=workspace,
            user=user,
            name=name,
            scope=scope,
            digest=token_digest(token),
            expires_at=timezone.now() + timedelta(days=min(days, TOKEN_DAYS_MAX)),
        )
        return row, token

    @property
    def is_valid(self) -> bool:
        return self.revoked_at is None and self.expires_at > timezone.now()


class SignInLink(models.Model):
    """A link that signs its user in once; only its checksum is stored."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="sign_in_links")
    digest = models.CharField(max_length=64, unique=True)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"Sign-in link of {self.user}"


class AuditEvent(models.Model):
    """Who did what, when and from where. Append-only."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, null=True, on_delete=models.PROTECT, related_name="+")
    user = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")
    at = models.DateTimeField(auto_now_add=True)
    action = models.CharField(max_length=40)
    subject = models.CharField(max_length=200, blank=True)
    ip = models.GenericIPAddressField(null=True)
    request_id = models.CharField(max_length=64, blank=True)
    data = models.JSONField(default=dict)

    class Meta:
        indexes = [models.Index(fields=["workspace", "-at"], name="audit_by_workspace")]

    def __str__(self) -> str:
        return f"{self.action} {self.subject}"
