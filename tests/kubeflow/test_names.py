"""Names as Kubernetes and container runtimes read them."""

from __future__ import annotations

import pytest

from dedpo.kubeflow import names
from dedpo.kubeflow.parameters import Request

GOOD = {
    "source": "world", "revision": "", "prompts": "x", "annotator": "a/b", "annotator_url": "", "labels": "",
    "judge": "", "base": "b", "arms": [], "baselines": True, "primary": "dedpo", "seed": 0, "overrides": "",
    "secret": "dedpo-keys", "image": "dedpo:0.1.0", "train_image": "dedpo", "label_image": "dedpo", "gpus": 0,
    "gpu_pool": {},
}  # fmt: skip


def problems(changes: dict[str, str]) -> list[str]:
    return list(names.problems(Request(**GOOD | changes)))


DIGEST = "sha256:" + "0a" * 32


@pytest.mark.parametrize(
    "image",
    [
        "dedpo", "dedpo:0.1.0", "localhost:5000/dedpo:x", f"registry.example.com/team/dedpo@{DIGEST}",
        f"europe-docker.pkg.dev/project/repo/dedpo:1@{DIGEST}",
        "123456789012.dkr.ecr.eu-central-1.amazonaws.com/a_b/c-d",
        "ghcr.io/owner/name:sha-0a1b", "[fd00::1]:5000/dedpo",
        "Registry.Example.com/dedpo", "a__b/c.d:_x",
    ],
)  # fmt: skip
def test_images_as_registries_name_them(image: str) -> None:
    assert not problems({"image": image})


@pytest.mark.parametrize(
    "image",
    [
        "", " ", "dedpo ", "Dedpo", "registry.example.com/Team/dedpo", "https://ghcr.io/x/y", "docker://x", "dedpo:",
        "dedpo@sha256:abc", f"dedpo@{DIGEST.upper()}", ":0.1.0", "/dedpo", "dedpo/", "a//b", "dedpo:a:b", "dédpo",
        "a\nb", "x" * 300, "dedpo:" + "x" * 129, "${IMAGE}", "<image>",
    ],
)  # fmt: skip
def test_what_is_no_images_name(image: str) -> None:
    for parameter in names.IMAGES:
        (problem,) = problems({parameter: image})
        assert problem.startswith(f"{parameter}: ")
        assert "\n" not in problem


@pytest.mark.parametrize("secret", ["a", "dedpo-keys", "team.keys-2", "x" * 253])
def test_secrets_as_kubernetes_names_them(secret: str) -> None:
    assert not problems({"secret": secret})


@pytest.mark.parametrize("secret", ["", " ", "My-Keys", "a_b", "-a", "a-", "a..b", "x" * 254, "keys/a", "a\n"])
def test_what_is_no_secrets_name(secret: str) -> None:
    (problem,) = problems({"secret": secret})
    assert problem.startswith("secret: ")


def test_names_that_are_blank_or_padded() -> None:
    for parameter in names.NEEDED:
        assert [p.split(":")[0] for p in problems({parameter: ""})] == [parameter]
    for parameter in names.TEXTS:
        for given in (" ", "x ", "\tx"):
            assert [p.split(":")[0] for p in problems({parameter: given})] == [parameter]
