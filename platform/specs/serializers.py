"""Spec → API: one serializer field for a whole spec, described by the spec's own schema."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from rest_framework import serializers

from specs.declaration import Spec


class SpecSerializerField(serializers.Field):  # type: ignore[type-arg]  # generic only in the stubs
    """A spec as plain JSON. A refused spec raises InvalidSpec with one text per field."""

    def __init__(self, spec_class: type[Spec], **options: Any) -> None:
        self.spec_class = spec_class
        super().__init__(**options)

    def to_internal_value(self, data: Any) -> Spec:
        return self.spec_class.parse(data)

    def to_representation(self, value: Any) -> Any:
        return value.to_json() if isinstance(value, Spec) else value


class SpecPartField(SpecSerializerField):
    """Parts of a spec as plain JSON, to be laid over another one and checked then."""

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, dict):
            raise serializers.ValidationError("expected an object")
        return data


class SpecSchema(OpenApiSerializerFieldExtension):
    target_class = SpecSerializerField
    match_subclasses = True

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        return inlined(self.target.spec_class.model_json_schema())


def inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with its references replaced by what they name."""
    parts = schema.get("$defs", {})

    def resolve(node: Any) -> Any:
        if isinstance(node, dict):
            if "$ref" in node:
                return resolve(parts[node["$ref"].rsplit("/", 1)[-1]])
            return {key: resolve(value) for key, value in node.items() if key != "$defs"}
        return [resolve(inner) for inner in node] if isinstance(node, list) else node

    resolved: dict[str, Any] = resolve(schema)
    return resolved
