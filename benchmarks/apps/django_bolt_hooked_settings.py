"""Django's settings for `django_bolt_app.hooked`."""

from benchmarks.apps.django_bolt_settings import INSTALLED_APPS, LOGGING, SECRET_KEY

__all__ = ["BOLT_API", "INSTALLED_APPS", "LOGGING", "SECRET_KEY"]

BOLT_API = ["benchmarks.apps.django_bolt_app:hooked"]
