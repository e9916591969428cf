"""Names that the run is given: whether Kubernetes can take a Secret's and an image's, and whether others are blank."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from dedpo.errors import excerpt
from dedpo.kubeflow.parameters import Request

# k8s.io/apimachinery/pkg/util/validation: a DNS-1123 subdomain.
_LABEL: Final = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_SECRET: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_SECRET_LENGTH: Final = 253
# github.com/distribution/reference, by which every container runtime reads an image's name.
_HOST: Final = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_DOMAIN: Final = rf"(?:{_HOST}(?:\.{_HOST})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?"
_PATH: Final = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_IMAGE: Final = re.compile(
    rf"(?P<name>(?:{_DOMAIN}/)?{_PATH}(?:/{_PATH})*)(?::\w[\w.-]{{0,127}})?"
    r"(?:@sha256:[0-9a-f]{64}|@sha512:[0-9a-f]{128})?",
    re.ASCII,
)
_IMAGE_LENGTH: Final = 255
IMAGES: Final = ("image", "train_image", "label_image")
NEEDED: Final = ("annotator", "base")
TEXTS: Final = (*NEEDED, "annotator_url", "labels", "judge", "primary")


def problems(asked: Request) -> Iterator[str]:
    """What is wrong with the names among the pipeline's parameters: neither needs a network to be seen."""
    secret = asked.secret
    for parameter in TEXTS:
        given = getattr(asked, parameter)
        if parameter in NEEDED and not given:
            yield f"{parameter}: empty; give its name, or leave the parameter out for the default"
        elif given != given.strip():
            yield f"{parameter}: {excerpt(repr(given), 80)}: spaces around it; take them away"
    if not secret:
        yield (
            "secret: empty; Kubeflow starts no task with it. Name the Secret, such as dedpo-keys; it need not exist if "
            "nobody asks for a key"
        )
    elif len(secret) > _SECRET_LENGTH or not _SECRET.fullmatch(secret):
        yield f"secret: '{excerpt(secret, 80)}': no name of a Secret; lower-case letters, digits, '-' and '.' only"
    for parameter in IMAGES:
        image = getattr(asked, parameter)
        known = _IMAGE.fullmatch(image)
        if not image:
            yield f"{parameter}: empty; name an image, such as registry.example.com/dedpo:0.1.0"
        elif known is None or len(known["name"]) > _IMAGE_LENGTH:
            yield (
                f"{parameter}: '{excerpt(image, 120)}': no image's name; write [REGISTRY/]NAME[:TAG][@sha256:DIGEST], "
                "the name in lower case and without https://"
            )
