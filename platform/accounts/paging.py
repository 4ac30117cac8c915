"""How pages and API cut a long list."""

from __future__ import annotations

from typing import Any

from django.core.paginator import Page, Paginator
from django.db.models import QuerySet


class KeyPaginator(Paginator):  # type: ignore[type-arg]  # generic only in the stubs
    """Pages of a queryset: sorts and cuts its keys alone, then reads these rows with all they show.

    Cut as it stands, the query would join and annotate every row of the list before it drops all but
    fifty, whenever the database has no fresh statistics of its tables.
    """

    def page(self, number: int | str) -> Page[Any]:  # Any: rows of any list
        found = self.validate_number(number)
        first = (found - 1) * self.per_page
        rows: QuerySet[Any] = self.object_list  # type: ignore[assignment]  # of querysets alone
        keys = rows.values("pk")[first : min(first + self.per_page, self.count)]
        return Page(rows.filter(pk__in=keys), found, self)
