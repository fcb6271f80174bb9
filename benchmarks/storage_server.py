"""Moto's S3 server on loopback, which counts what is asked, and by whom."""

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

BUCKET = "studies"
PATIENCE = 60


class Counting:
    """An application in front of another."""

    def __init__(self, application: Callable[..., Iterable[bytes]], latency: float) -> None:
        self._application, self._latency = application, latency
        self._counts: Counter[str] = Counter()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        """Count a request, have it wait, and pass it on."""
        if environ["PATH_INFO"] == "/counted":
            start_response("200 OK", [("Content-Type", "application/json")])
            return [json.dumps(self._counts).encode()]
        agent = environ.get("HTTP_USER_AGENT", "")
        who = next((one for one in ("driver", "worker") if f"/{one}" in agent.lower()), "other")
        self._counts[f"{who} {environ['REQUEST_METHOD']}"] += 1
        self._counts[f"{who} requests"] += 1
        sizes = environ.get("HTTP_X_AMZ_DECODED_CONTENT_LENGTH"), environ.get("CONTENT_LENGTH")
        self._counts[f"{who} bytes"] += int(next(filter(None, sizes), 0))
        time.sleep(self._latency)
        return self._application(environ, start_response)


@contextlib.contextmanager
def counting_server(latency: float) -> Iterator[tuple[str, dict[str, str]]]:
    """Its address, and the variables by which clients find it."""
    command = [sys.executable, "-m", "benchmarks.storage_server", str(latency)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout
            address = process.stdout.readline().strip()
            variables = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "secret"}
            variables |= {"AWS_ENDPOINT_URL": address, "AWS_DEFAULT_REGION": "us-east-1"}
            variables |= {"AWS_EC2_METADATA_DISABLED": "true"}
            request = urllib.request.Request(f"{address}/{BUCKET}", method="PUT")
            urllib.request.urlopen(request, timeout=PATIENCE).close()
            yield address, variables
        finally:
            process.kill()


def serve(latency: float) -> None:
    """Say where, and serve until killed."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    # Else the connection is made anew for every request.
    WSGIRequestHandler.protocol_version = "HTTP/1.1"
    application = Counting(DomainDispatcherApplication(create_backend_app), latency)
    server = make_server("127.0.0.1", 0, application, threaded=True)
    print(f"http://127.0.0.1:{server.port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
    serve(float(sys.argv[1]))
