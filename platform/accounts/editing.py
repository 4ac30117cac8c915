"""Who may change what on pages, and how lists are paged."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from django.core.exceptions import PermissionDenied
from django.core.paginator import InvalidPage, Page
from django.db.models import QuerySet
from django.http import Http404, HttpRequest

from accounts.models import Membership, User, Workspace, WorkspaceRow
from accounts.paging import KeyPaginator

PER_PAGE = 50
SEARCH_MAX = 200


def editing_membership(request: HttpRequest) -> Membership:
    """The membership a page acts with. Raises PermissionDenied (403) for viewers and strangers."""
    membership: Membership | None = request.membership  # type: ignore[attr-defined]  # by middleware
    # A lazy object is never None itself; its truth is that of what it wraps.
    if not membership or not membership.may_edit:
        raise PermissionDenied("This needs the role editor. Ask an owner of the workspace.")
    return membership


def acting_workspace(request: HttpRequest) -> Workspace:
    """The workspace that new rows of a page belong to. Raises PermissionDenied without any."""
    membership: Membership | None = request.membership  # type: ignore[attr-defined]  # by middleware
    if not membership:
        raise PermissionDenied("You are in no workspace. Ask an owner to add you to one.")
    return membership.workspace


def require_editor_of(row: WorkspaceRow, request: HttpRequest) -> None:
    """Raises PermissionDenied (403) unless the user may edit in the workspace of this row."""
    members = Membership.objects.filter(workspace=row.workspace_id, user=request.user.pk)
    membership = members.first()
    if membership is None or not membership.may_edit:
        raise PermissionDenied("This needs the role editor. Ask an owner of the workspace.")


def user_of(request: HttpRequest) -> User:
    """The person behind a request that has passed sign-in."""
    if not isinstance(request.user, User):
        raise PermissionDenied("Sign in first.")
    return request.user


def search_text(request: HttpRequest) -> str:
    """What the search field of a list holds."""
    return request.GET.get("q", "").strip()[:SEARCH_MAX]


def new_key() -> str:
    """A key for the hidden field of a form that starts work, so that a double click starts it once."""
    return uuid.uuid4().hex


@dataclass(frozen=True)
class Listing:
    """One page of a list with the state its headers and links need."""

    page: Page[Any]
    sort: str
    search: str
    filters: Mapping[str, str] = field(default_factory=dict)

    @property
    def query(self) -> str:
        """Filters and order as they stand in a link to another page."""
        return urlencode({**self._filled, **({"sort": self.sort} if self.sort else {})})

    @property
    def filter_query(self) -> str:
        """The filters as they stand in a link to another order."""
        return urlencode(self._filled)

    @property
    def _filled(self) -> dict[str, str]:
        return {key: value for key, value in {"q": self.search, **self.filters}.items() if value}


def listing(
    request: HttpRequest,
    rows: QuerySet[Any],
    *,
    sorts: Mapping[str, str],
    default: str = "-pk",
    filters: Mapping[str, str] | None = None,
) -> Listing:
    """Sort by an allow-listed column and cut out a page. Raises Http404 for a page that is not there.

    `rows` are filtered already; `filters` are what links must keep beside the search.
    """
    sort = request.GET.get("sort", "")
    column = sorts.get(sort.removeprefix("-"), "")
    if sort and not column:
        raise Http404(f"cannot sort by {sort!r}")
    order = f"{'-' if sort.startswith('-') else ''}{column}" if column else default
    try:
        page = KeyPaginator(rows.order_by(order, "-pk"), PER_PAGE).page(request.GET.get("page", 1))
    except InvalidPage:
        raise Http404("there is no such page") from None
    return Listing(page, sort, search_text(request), filters or {})
