"""Uploads: files and archives taken in, listed, deleted."""

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import TooManyFilesSent
from django.core.files.uploadhandler import FileUploadHandler, StopUpload
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.text import Truncator
from django.views.decorators.csrf import csrf_exempt, csrf_protect

from sender.models import Upload, UploadState
from sender.services import reception, upload_passes
from sender.services import uploads as store
from sender.services.reception import Receiving
from sender.services.uploads import Refused, UploadInUse
from sender.web.access import needs

PER_PAGE = 50
REFUSED = 400


class StreamingHandler(FileUploadHandler):
    """Passes each file of a form on as it comes; the first refusal ends the reading."""

    def __init__(self, request: HttpRequest, receiving: Receiving) -> None:
        super().__init__(request)
        self._receiving = receiving
        self.refusal = ""

    def new_file(self, *arguments: Any, **keywords: Any) -> None:
        """Begin a file."""
        super().new_file(*arguments, **keywords)
        self._pass_on(lambda: self._receiving.begin_file(self.file_name or ""))

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Take a block of it."""
        self._pass_on(lambda: self._receiving.write(raw_data))

    def file_complete(self, file_size: int) -> None:
        """End it; nothing of it is kept for the view."""
        self._pass_on(self._receiving.end_file)

    def _pass_on(self, step: Any) -> None:
        if self.refusal:
            raise StopUpload(connection_reset=True)
        try:
            step()
        except Refused as refusal:
            self.refusal = str(refusal)
            raise StopUpload(connection_reset=True) from None


@needs("operate")
@csrf_exempt
def uploads(request: HttpRequest) -> HttpResponse:
    """List uploads, and take one: the token of the form is checked once its files have come."""
    if request.method != "POST":
        return _page(request)
    try:
        receiving = reception.receive("", request.user.get_username())
    except Refused as refusal:
        return _page(request, problem=str(refusal))
    handler = StreamingHandler(request, receiving)
    request.upload_handlers = [handler]
    try:
        problem = _read(request) or handler.refusal
        if problem:
            return _page(request, problem=problem)
        return _finish(request, receiving)
    finally:
        receiving.abandon()


def _read(request: HttpRequest) -> str:
    """Have the form read; say why it can't be."""
    try:
        _ = request.POST
    except TooManyFilesSent:
        return (
            f"This upload holds more than {settings.UPLOAD_FILES} files, the most that is allowed "
            "here. Nothing of it was kept."
        )
    except (MultiPartParserError, UnreadablePostError):
        return "This upload did not come whole. Nothing of it was kept."
    return ""


@csrf_protect
def _finish(request: HttpRequest, receiving: Receiving) -> HttpResponse:
    name = request.POST.get("name", "").strip()
    if name:
        receiving.upload.name = reception.said_name(name)
    try:
        upload = receiving.finish()
    except Refused as refusal:
        return _page(request, problem=str(refusal))
    said = f"{upload.name}: {_files(upload.files)}, ready to be sent."
    if upload.left_out_files:
        said += f" {_files(upload.left_out_files)} of archives left out: see the list of uploads."
    messages.success(request, said)
    return redirect(f"{reverse('send_new')}?upload={upload.pk}")


def _files(number: int) -> str:
    return "1 file" if number == 1 else f"{number} files"


def _page(request: HttpRequest, problem: str = "") -> HttpResponse:
    ready = Upload.objects.exclude(state=UploadState.DELETING)
    page = Paginator(ready, PER_PAGE).get_page(request.GET.get("page"))
    limits = reception.limits()
    context = {
        "page": page,
        "problem": problem,
        "limits": limits,
        "most_bytes": min(limits.received, store.free_bytes()),
        "is_allowed": store.are_allowed(),
    }
    response = render(request, "sender/uploads.html", context, status=REFUSED if problem else 200)
    response.set_cookie(
        upload_passes.COOKIE,
        upload_passes.issue(),
        max_age=upload_passes.LASTS_SECONDS,
        path=reverse("uploads"),
        secure=settings.HTTPS,
        httponly=True,
        samesite="Lax",
    )
    return response


@needs("operate")
def upload_delete(request: HttpRequest, number: int) -> HttpResponse:
    """Ask before an upload is deleted, and delete it."""
    found = get_object_or_404(Upload, pk=number)
    users = store.users_of(found)
    if request.method == "POST":
        try:
            store.delete_upload(found, request.user.get_username())
        except UploadInUse as error:
            messages.error(request, str(error))
        else:
            messages.success(request, f"{Truncator(found.name).chars(60)} was deleted.")
        return redirect("uploads")
    return render(request, "sender/upload_delete.html", {"upload": found, "users": users})
