import os
from pathlib import Path

STATE = Path(os.environ["OUTSAMPLE_STATE"])
SECRET_KEY = "small"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "config.urls"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.staticfiles", "embedded"]
STATIC_URL = "/static/"
STATIC_ROOT = STATE / "static"
EMBEDDED_DATABASE = EMBEDDED_BROKER = True
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "outsample",
        "USER": "postgres",
        "HOST": str(STATE / "run"),
    }
}
if os.environ.get("SMALL_SITE_BROKEN"):
    DATABASES["default"]["NAME"] = "nowhere"
USE_TZ = True
CELERY_BROKER_URL = f"redis+socket://{STATE / 'valkey' / 'valkey.sock'}"
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_IGNORE_RESULT = True
