from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.forms import AuthenticationForm, UsernameField
from django.http import HttpRequest

from accounts.models import User

NAME_MAX = User._meta.get_field("username").max_length
PASSWORD_MAX = 4096


class SignInForm(AuthenticationForm):
    """Name and password; what can be nobody's is answered like a wrong password, unasked."""

    def __init__(self, request: HttpRequest | None = None, *args: Any, **kwargs: Any) -> None:
        super().__init__(request, *args, **kwargs)
        self.fields["username"] = UsernameField(max_length=NAME_MAX)
        self.fields["password"] = forms.CharField(strip=False, max_length=PASSWORD_MAX)

    def clean(self) -> dict[str, Any]:
        impossible = [name for name in self.errors if self.data.get(name)]
        for name in impossible:
            del self.errors[name]
        if impossible:
            raise self.get_invalid_login_error()
        return super().clean()
