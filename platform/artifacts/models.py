from __future__ import annotations

from django.db import models


class StoredFile(models.Model):
    """A finished, checksummed file. The row is made only when the file is complete."""

    # By name: artifacts lies below accounts and must not import it.
    workspace = models.ForeignKey("accounts.Workspace", on_delete=models.PROTECT, related_name="+")
    name = models.CharField(max_length=200)
    key = models.CharField(max_length=200)
    sha256 = models.CharField(max_length=64)
    size = models.BigIntegerField()
    media_type = models.CharField(max_length=100)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = [models.Index(fields=["workspace", "sha256"], name="stored_by_checksum")]

    def __str__(self) -> str:
        return self.name
