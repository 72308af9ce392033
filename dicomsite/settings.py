"""Settings: everything an installation may choose comes from environment variables.

docs/settings.md lists them all. A value that can't be used is kept in SETTINGS_PROBLEMS and told
by the system checks (sender/checks.py), with an id and a remedy, instead of a traceback here.
"""

import os
import secrets
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent

SETTINGS_PROBLEMS: list[tuple[str, str]] = []
"""Pairs of (environment variable, what is wrong with its value)."""


def _text(name: str, default: str = "") -> str:
    return os.environ.get(name, "").strip() or default


def _parsed(name: str, default: Any, parse: Callable[[str], Any]) -> Any:
    """Return a variable's value; if it is wrong, keep the problem and use the default."""
    text = os.environ.get(name, "").strip()
    if not text:
        return default
    try:
        return parse(text)
    except ValueError as error:
        SETTINGS_PROBLEMS.append((name, str(error)))
        return default


def _boolean(text: str) -> bool:
    words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    if text.lower() not in words:
        raise ValueError(f"{text!r} is neither 1 nor 0.")
    return words[text.lower()]


def _number(low: float, high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            raise ValueError(f"{text!r} is not a number.") from None
        if not low <= number <= high:
            raise ValueError(f"{text} is not between {low:g} and {high:g}.")
        return number

    return parse


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _folders(text: str) -> list[Path]:
    folders = [Path(part) for part in text.split(os.pathsep) if part.strip()]
    for folder in folders:
        if not folder.is_absolute():
            raise ValueError(f"{str(folder)!r} is not an absolute path.")
    return folders


_NO_ANSWER: dict[str, Any] = {
    "connect_timeout": 10,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
"""A PostgreSQL that the network does not reach any more counts as away after 10 to 25 s (libpq)."""


def _database(url: str) -> dict[str, Any]:
    """Turn sqlite:///PATH or postgresql://USER:PASSWORD@HOST:PORT/NAME into Django's settings."""
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        if not parts.path.strip("/"):
            raise ValueError(
                "a SQLite address names a file: sqlite:////var/lib/concordat/db.sqlite3"
            )
        return _sqlite(Path(unquote(parts.path.removeprefix("/"))))
    if parts.scheme in ("postgres", "postgresql"):
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": unquote(parts.path.lstrip("/")),
            "USER": unquote(parts.username or ""),
            "PASSWORD": unquote(parts.password or ""),
            "HOST": unquote(parts.hostname or ""),
            "PORT": str(parts.port or ""),
            "CONN_MAX_AGE": None,
            # The sender polls all the time and awaits a database that is away; pages ask first.
            "CONN_HEALTH_CHECKS": "Q_CLUSTER_NAME" not in os.environ,
            "OPTIONS": {"options": "-c jit=off", **_NO_ANSWER, **dict(parse_qsl(parts.query))},
        }
    raise ValueError("the address begins with sqlite:// or postgresql://")


def _redis(url: str) -> str:
    if urlsplit(url).scheme not in ("redis", "rediss", "unix"):
        raise ValueError("the address begins with redis://, rediss:// or unix://")
    return url


def _sqlite(path: Path) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": path,
        "CONN_MAX_AGE": None,
        "TEST": {"NAME": path.with_suffix(".test.sqlite3")},
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": (
                "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA recursive_triggers=ON;"
                " PRAGMA journal_size_limit=67108864; PRAGMA cache_size=-16000"
            ),
        },
    }


def _data_directory() -> Path:
    """Return the data directory, made if it was missing."""
    directory = Path(_text("CONCORDAT_DATA_DIR") or BASE_DIR / "var").absolute()
    try:
        for folder in (
            directory,
            *(directory / name for name in ("logs", "static", "uploads", "incoming")),
        ):
            folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    except OSError as error:
        raise ImproperlyConfigured(
            f"The data directory {directory} can't be made or written ({error.strerror}). "
            "Set CONCORDAT_DATA_DIR to a directory that this user may write."
        ) from error
    return directory


def _secret_key(path: Path) -> str:
    """Return the generated key of this installation, made with mode 0600 if it was missing."""
    try:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return path.read_text(encoding="ascii").strip()
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(48))
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ImproperlyConfigured(
            f"The secret key {path} can't be read or made ({error}). "
            "Make it readable for this user, or set CONCORDAT_SECRET_KEY_FILE."
        ) from error


DATA_DIR = _data_directory()
SECRET_KEY = _secret_key(Path(_text("CONCORDAT_SECRET_KEY_FILE") or DATA_DIR / "secret.key"))
DEBUG = _parsed("CONCORDAT_DEBUG", False, _boolean)
ALLOWED_HOSTS = _parsed("CONCORDAT_ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"], _list)
CSRF_TRUSTED_ORIGINS = _parsed("CONCORDAT_TRUSTED_ORIGINS", [], _list)
HTTPS = _parsed("CONCORDAT_HTTPS", False, _boolean)

SOURCE_ROOTS: list[Path] | None = _parsed("CONCORDAT_SOURCE_ROOTS", None, _folders)
"""Folders that may be read; None: uploads and pydicom's data for the web, all for the shell."""
RETRY_BASE_SECONDS = _parsed("CONCORDAT_RETRY_BASE_SECONDS", 60.0, _number(0, 86400))
WORKERS = int(_parsed("CONCORDAT_WORKERS", 8, _number(1, 64)))
SCAN_PROCESSES = int(_parsed("CONCORDAT_SCAN_PROCESSES", 2, _number(1, 32)))
CONVERT_PROCESSES = int(_parsed("CONCORDAT_CONVERT_PROCESSES", 2, _number(1, 32)))
BIND = _text("CONCORDAT_BIND", "127.0.0.1:8000")
DEMO_PORT = int(_parsed("CONCORDAT_DEMO_PORT", 11113, _number(1, 65535)))
UPLOAD_MEGABYTES = int(_parsed("CONCORDAT_UPLOAD_MEGABYTES", 4000, _number(1, 1 << 20)))
"""The largest upload, in millions of bytes; next, what its archives may unpack to."""
UPLOAD_UNPACKED_MEGABYTES = int(
    _parsed("CONCORDAT_UPLOAD_UNPACKED_MEGABYTES", 16000, _number(1, 1 << 20))
)
UPLOAD_FILES = int(_parsed("CONCORDAT_UPLOAD_FILES", 100_000, _number(1, 1_000_000)))
ENVIRONMENT_LABEL = _text("CONCORDAT_ENVIRONMENT_LABEL")
SENDER_HOST = _text("CONCORDAT_HOST_NAME") or socket.gethostname()

DATABASES = {
    "default": _parsed("DATABASE_URL", None, _database) or _sqlite(DATA_DIR / "concordat.sqlite3")
}

REDIS_URL = _parsed("CONCORDAT_REDIS_URL", "", _redis)
"""Where tickets wait instead of in the database: for more than about 50 sender hosts."""

INSTALLED_APPS = [
    "django.contrib.admin.apps.SimpleAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "django.forms",
    "django_htmx",
    "heroicons",
    "django_q",
    "sender",
]

MIDDLEWARE = [
    "sender.web.policy.PolicyMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "sender.web.policy.ZoneMiddleware",
    "sender.web.access.AccessMiddleware",
]

ROOT_URLCONF = "dicomsite.urls"
WSGI_APPLICATION = "dicomsite.wsgi.application"
FORM_RENDERER = "django.forms.renderers.TemplatesSetting"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "sender.web.pages.chrome",
            ],
            "libraries": {"concordat": "sender.web.tags"},
        },
    }
]

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "sign_in"
LOGIN_REDIRECT_URL = "dashboard"
LOGOUT_REDIRECT_URL = "sign_in"

LANGUAGE_CODE = "en-gb"
TIME_ZONE = _text("CONCORDAT_TIME_ZONE", "UTC")
USE_TZ = True
USE_I18N = True

STATIC_URL = "static/"
STATIC_ROOT = DATA_DIR / "static"
STATIC_IS_COLLECTED = "collectstatic" in sys.argv or (STATIC_ROOT / "staticfiles.json").exists()
STATICFILES_STORAGE_CLASS = (
    "whitenoise.storage.CompressedManifestStaticFilesStorage"
    if STATIC_IS_COLLECTED
    else "django.contrib.staticfiles.storage.StaticFilesStorage"
)
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": STATICFILES_STORAGE_CLASS},
}
WHITENOISE_USE_FINDERS = not STATIC_IS_COLLECTED

SESSION_COOKIE_AGE = 12 * 3600
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = HTTPS
CSRF_COOKIE_SECURE = HTTPS
CSRF_COOKIE_HTTPONLY = True
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SECURE_SSL_REDIRECT = HTTPS
SECURE_HSTS_SECONDS = 31536000 if HTTPS else 0
X_FRAME_OPTIONS = "DENY"
CSRF_FAILURE_VIEW = "sender.web.pages.csrf_failed"
SECURE_CSP = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "font-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}
DATA_UPLOAD_MAX_MEMORY_SIZE = 8 << 20
DATA_UPLOAD_MAX_NUMBER_FILES = UPLOAD_FILES
FILE_UPLOAD_TEMP_DIR = DATA_DIR / "incoming"
FILE_UPLOAD_HANDLERS = ["django.core.files.uploadhandler.TemporaryFileUploadHandler"]

_TABLE = {"orm": "default", "broker_class": "sender.process.broker.TicketBroker"}
Q_CLUSTER = {
    "name": "concordat",
    "cluster_name": _text("Q_CLUSTER_NAME", "main"),
    **({"redis": REDIS_URL} if REDIS_URL else _TABLE),
    "workers": WORKERS,
    "timeout": 86400,
    "retry": 90000,
    "max_attempts": 1,
    "ack_failures": True,
    "queue_limit": 1,
    "bulk": 1,
    "poll": 0.5,
    "save_limit": -1,
    "catch_up": False,
    "scheduler": False,
    "recycle": 200,
    "max_rss": 400000,
    "guard_cycle": 0.5,
    "label": "Queue",
    "ALT_CLUSTERS": {"ui": {"workers": 1, "timeout": 86400, "retry": 90000, "poll": 0.2}},
}

LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "()": "dicomsite.logs.LineFormatter",
            "fmt": "{asctime} {levelname} {name} {message}",
            "style": "{",
        },
    },
    "filters": {"refusals": {"()": "dicomsite.logs.RefusalFilter"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {
        "sender": {"level": "INFO"},
        "django-q": {"level": "WARNING"},
        "django.request": {"filters": ["refusals"]},
    },
}
