from __future__ import annotations

from django.http import HttpRequest

from accounts.models import AuditEvent, User, Workspace


def record(
    action: str,
    *,
    workspace: Workspace | None = None,
    user: User | None = None,
    subject: object = "",
    request: HttpRequest | None = None,
    **data: object,
) -> None:
    """Append one audit event."""
    AuditEvent.objects.create(
        action=action,
        workspace=workspace,
        user=user,
        subject=str(subject)[:200],
        ip=request.META.get("REMOTE_ADDR") or None if request else None,
        request_id=getattr(request, "request_id", "") if request else "",
        data=data,
    )
