from __future__ import annotations

from typing import Any

from rest_framework import serializers


class CodeRunsSerializer(serializers.Serializer[Any]):
    code_version = serializers.CharField()
    runs = serializers.ListField(child=serializers.IntegerField())


class MixedCodeSerializer(serializers.Serializer[Any]):
    """Runs that are read against each other and were trained by different code: which, and what to do."""

    message = serializers.CharField()
    versions = CodeRunsSerializer(many=True)
