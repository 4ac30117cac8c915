"""A site of one page, started by `up` exactly as the product is."""

from celery import Celery

celery_app = Celery("small", set_as_current=False)
celery_app.config_from_object("config.settings", namespace="CELERY")
