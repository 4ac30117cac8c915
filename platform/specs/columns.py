from __future__ import annotations

from typing import Any

from django.db import models

from specs.declaration import Spec


class SpecColumn(models.JSONField):
    """A JSON column that holds one spec: assigned and read as the frozen spec itself."""

    def __init__(self, spec_class: type[Spec] | None = None, **options: Any) -> None:
        self.spec_class = spec_class
        super().__init__(**options)

    def deconstruct(self) -> tuple[str, str, list[Any], dict[str, Any]]:
        name, _, args, options = super().deconstruct()
        return name, "django.db.models.JSONField", list(args), options

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        data = super().from_db_value(value, expression, connection)
        if self.spec_class is None or not isinstance(data, dict):
            return data
        return self.spec_class.parse(data)

    def get_prep_value(self, value: Any) -> Any:
        return super().get_prep_value(value.to_json() if isinstance(value, Spec) else value)

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        plain = value.to_json() if isinstance(value, Spec) else value
        return super().get_db_prep_value(plain, connection, prepared)

    def value_to_string(self, obj: models.Model) -> Any:
        value = self.value_from_object(obj)
        return value.to_json() if isinstance(value, Spec) else value
