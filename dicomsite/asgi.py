"""The site as an ASGI application, for servers that want one; `up` serves WSGI."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dicomsite.settings")

application = get_asgi_application()
