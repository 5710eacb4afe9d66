"""Django's settings for `django_bolt_app.api`."""

INSTALLED_APPS = ["django_bolt"]
BOLT_API = ["benchmarks.apps.django_bolt_app:api"]
SECRET_KEY = "benchmark"  # noqa: S105 - nothing is signed with it
# django-bolt writes its access log to django.server at INFO, which Django enables by default.
LOGGING = {"version": 1, "loggers": {"django.server": {"level": "WARNING"}}}
