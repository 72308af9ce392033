"""A child that reads a request and never answers; used by test_scanning."""

import threading

from sender.dicom.children import serve


def wait(_request: bytes) -> bytes:
    """Wait for what never comes."""
    threading.Event().wait()
    return b""


if __name__ == "__main__":
    serve(wait)
