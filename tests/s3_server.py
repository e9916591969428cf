"""A real S3-protocol server on loopback that counts what is moved."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "loopback",
    "AWS_SECRET_ACCESS_KEY": "loopback",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_MAX_ATTEMPTS": "1",
}


@dataclass
class Traffic:
    """What clients did; `refuse` answers all with 403, and after `hold_after` GETs of objects none is answered."""

    url: str = ""
    put: list[tuple[str, int]] = field(default_factory=list)
    got: list[str] = field(default_factory=list)
    hold_after: float = math.inf
    released: threading.Event = field(default_factory=threading.Event)
    refuse: bool = False

    @property
    def bytes_put(self) -> int:
        return sum(size for _, size in self.put)

    def release(self) -> None:
        """Answer what was held back, and hold no more."""
        self.hold_after = math.inf
        self.released.set()

    def forget(self) -> None:
        self.put.clear()
        self.got.clear()


Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def _counting(application: Application, traffic: Traffic) -> Application:
    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        if traffic.refuse:
            start_response("403 Forbidden", [("Content-Length", "0")])
            return [b""]
        if method == "PUT":
            traffic.put.append((path, int(environ.get("CONTENT_LENGTH") or 0)))
        elif method == "GET" and "/files/md5/" in path:
            traffic.got.append(path)
            if len(traffic.got) > traffic.hold_after:
                traffic.released.wait()
        return application(environ, start_response)

    return answer


@contextmanager
def s3_server(*buckets: str) -> Iterator[Traffic]:
    """Serve S3 on a free port of 127.0.0.1; yield its traffic, `url` included."""
    import boto3
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Silent(WSGIRequestHandler):
        def log(self, *_: object) -> None:
            pass

    traffic = Traffic()
    application = DomainDispatcherApplication(create_backend_app)
    server = make_server("127.0.0.1", 0, _counting(application, traffic), threaded=True, request_handler=Silent)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    traffic.url = f"http://127.0.0.1:{server.server_port}"
    keys = {"aws_access_key_id": "loopback", "aws_secret_access_key": "loopback", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=traffic.url, **keys)
    for bucket in buckets:
        client.create_bucket(Bucket=bucket)
    client.close()
    traffic.forget()
    try:
        yield traffic
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
