"""All settings. Loading them needs no environment and starts nothing."""

import hashlib
import os
from pathlib import Path

from config import environment

ROOT = Path(__file__).resolve().parents[2]
STATE = environment.state_folder()
PRODUCTION = environment.flag("OUTSAMPLE_PRODUCTION")
TEST_HOOKS = environment.flag("OUTSAMPLE_TEST_HOOKS")
# A fake exchange in the place of every venue, for tests only.
EXCHANGE_TEST_URL = environment.text("OUTSAMPLE_TEST_EXCHANGE") if TEST_HOOKS else ""
DEBUG = False

# On one machine the key lies in the state folder (written by `up`); production names it.
_KEY_FILE = STATE / "secret_key"


def _local_key() -> str:
    try:
        return _KEY_FILE.read_text().strip()
    except OSError:
        return "local-" + hashlib.sha256(str(STATE).encode()).hexdigest()


SECRET_KEY = environment.required("OUTSAMPLE_SECRET_KEY") if PRODUCTION else _local_key()
ALLOWED_HOSTS = (
    environment.names("OUTSAMPLE_HOSTS", "") if PRODUCTION else ["127.0.0.1", "localhost", "[::1]"]
)
CSRF_TRUSTED_ORIGINS = [f"https://{host}" for host in ALLOWED_HOSTS] if PRODUCTION else []
if PRODUCTION:
    environment.required("OUTSAMPLE_HOSTS")
    environment.required("DATABASE_URL")
    environment.required("CELERY_BROKER_URL")

EMBEDDED_DATABASE = not environment.text("DATABASE_URL")
EMBEDDED_BROKER = not environment.text("CELERY_BROKER_URL")
DATABASES = {
    "default": environment.database(
        environment.text("DATABASE_URL", f"postgresql://postgres@/outsample?host={STATE / 'run'}")
    )
}
PG_BIN_DIR = environment.text("PG_BIN_DIR")
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "django_htmx",
    "axes",
    "csp",
    "embedded",
    "artifacts",
    "accounts",
    "jobs",
    "markets",
    "modeling",
    "backtests",
    "web",
]

MIDDLEWARE = [
    "web.middleware.DatabaseAwayMiddleware",
    "web.middleware.RequestIdMiddleware",
    "web.middleware.RefuseNulMiddleware",
    "web.middleware.PrivateAnswersMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "accounts.middleware.WorkspaceMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "axes.middleware.AxesMiddleware",
]

ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [ROOT / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "web.context.shell",
            ],
            "builtins": ["web.templatetags.numbers"],
        },
    }
]

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 10},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "/login/"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/login/"
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = 0.25  # hours
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_HTTP_RESPONSE_CODE = 429
AXES_LOCKOUT_CALLABLE = "accounts.views.locked_out"
AXES_VERBOSE = False

SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = PRODUCTION
SECURE_SSL_REDIRECT = PRODUCTION
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if PRODUCTION else None
SECURE_HSTS_SECONDS = 31_536_000 if PRODUCTION else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = PRODUCTION
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "script-src": ["'self'"],
        "style-src": ["'self'", "'unsafe-inline'"],
        "img-src": ["'self'", "data:", "blob:"],
        "connect-src": ["'self'"],
        "object-src": ["'none'"],
        "base-uri": ["'none'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
    }
}

LANGUAGE_CODE = "en"
USE_I18N = False
USE_TZ = True
TIME_ZONE = "UTC"

STATIC_URL = "/static/"
STATIC_ROOT = STATE / "static"
STATICFILES_FINDERS = [
    "django.contrib.staticfiles.finders.FileSystemFinder",
    "django.contrib.staticfiles.finders.AppDirectoriesFinder",
    "web.vendored.PackageFilesFinder",
]
MEDIA_ROOT = STATE / "files"
STORAGES = {
    "default": {
        "BACKEND": "artifacts.storage.AtomicFileSystemStorage",
        "OPTIONS": {"location": MEDIA_ROOT},
    },
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
FILE_UPLOAD_TEMP_DIR = None
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024
FILE_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024
UPLOAD_MAX_BYTES = 200 * 1024 * 1024

CELERY_BROKER_URL = environment.text(
    "CELERY_BROKER_URL", f"redis+socket://{STATE / 'valkey' / 'valkey.sock'}"
)
CELERY_TASK_IGNORE_RESULT = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_TASK_ACKS_LATE = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_PUBLISH_RETRY = False
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TIMEZONE = "UTC"
CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 604_800, "socket_connect_timeout": 2}

JOBS_LEASE_S = environment.number("OUTSAMPLE_LEASE_S", 60, at_least=1)
JOBS_HEARTBEAT_S = environment.number("OUTSAMPLE_HEARTBEAT_S", 5, at_least=1)
JOBS_STALL_S = environment.number("OUTSAMPLE_STALL_S", 600, at_least=1)
JOBS_RECONCILE_S = environment.number("OUTSAMPLE_RECONCILE_S", 15, at_least=1)
JOBS_MAX_TRIES = 3
JOBS_RUNNING_TRAININGS = environment.number("OUTSAMPLE_RUNNING_TRAININGS", 2, at_least=1)
JOBS_QUEUED_TRAININGS = environment.number("OUTSAMPLE_QUEUED_TRAININGS", 50, at_least=1)
JOBS_LAUNCHES_PER_HOUR = environment.number("OUTSAMPLE_LAUNCHES_PER_HOUR", 30, at_least=1)

QUOTA_PARAMETERS = environment.number("OUTSAMPLE_QUOTA_PARAMETERS", 200_000_000, at_least=1)
QUOTA_EPOCHS = environment.number("OUTSAMPLE_QUOTA_EPOCHS", 1000, at_least=1)
QUOTA_CONTEXT_BARS = environment.number("OUTSAMPLE_QUOTA_CONTEXT_BARS", 4096, at_least=1)
QUOTA_STORED_BYTES = environment.number("OUTSAMPLE_QUOTA_STORED_GIB", 20, at_least=1) * 2**30
# Devices that one run may take. More than there are GPUs: the processes share the processor.
TRAINING_DEVICES = environment.number("OUTSAMPLE_DEVICES", max(1, environment.gpus()), at_least=1)
# Whether long trainings on a GPU may compile their steps.
COMPILED_STEPS = environment.choice("OUTSAMPLE_COMPILE", "auto", "off") == "auto"
TIME_LIMIT_H = environment.number("OUTSAMPLE_TIME_LIMIT_H", 24, at_least=1)

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "accounts.authentication.BearerTokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["accounts.permissions.InWorkspace"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["accounts.rest.StrictJSONParser"],
    "DEFAULT_PAGINATION_CLASS": "accounts.rest.ListPagination",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "accounts.rest.exception_handler",
    "DEFAULT_THROTTLE_CLASSES": ["accounts.rest.UserThrottle", "accounts.rest.AnonymousThrottle"],
    "DEFAULT_THROTTLE_RATES": {"user": "600/min", "anon": "30/min"},
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Outsample",
    "DESCRIPTION": "Datasets, experiments, runs, backtests and jobs. Errors are {code, detail, fields, request_id}.",
    "VERSION": "0.1.0",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
}
# Compiled loops are kept beside the other state, whoever runs the process.
os.environ.setdefault("NUMBA_CACHE_DIR", str(STATE / "cache" / "numba"))
os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(STATE / "cache" / "inductor"))

# Features that were computed once, kept for the next run; the least recently used go first.
FEATURE_CACHE = STATE / "cache" / "features"
FEATURE_CACHE_BYTES = environment.number("OUTSAMPLE_FEATURE_CACHE_GIB", 10, at_least=1) * 2**30

CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"lines": {"()": "web.logs.JsonLines"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "lines"}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
    "loggers": {"django.request": {"level": "ERROR"}, "axes": {"level": "WARNING"}},
}
