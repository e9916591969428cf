"""What a status or an error inside HTTP 200 asks for."""

from __future__ import annotations

from typing import Any

import pytest

from dedpo.asking.statuses import is_busy, meant


@pytest.mark.parametrize(
    ("status", "text", "is_asked_for_time"),
    [
        (429, "slow down", True),
        (498, "Flex tier capacity exceeded", True),
        (404, "model loading, please retry", True),
        (404, "model 'vlm' is loading", True),
        (400, "Model some/vlm is currently loading", True),
        (500, "the server is still warming up", True),
        (409, "Loading the model into memory", True),
        (404, "model 'vlm' not found", False),
        (404, "No models loaded", False),
        (500, "Error loading model: out of memory", False),
        (400, "error while loading image data", False),
        (400, "the model failed loading the image", False),
        (401, "the model is loading", False),
    ],
)
def test_who_asks_for_time(status: int, text: str, is_asked_for_time: bool) -> None:
    assert is_busy(status, text) == is_asked_for_time


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"code": 429}, 429),
        ({"code": "503"}, 503),
        ({"code": 40301}, 403),
        ({"status": "NOT_FOUND"}, 404),
        ({"type": "rate_limit_error", "message": "no"}, 429),
        ({"type": "overloaded_error"}, 503),
        ({"message": "Too many requests, slow down"}, 429),
        ("rate limit", 429),
        ("Service temporarily unavailable", 503),
        ("model is loading", 503),
        ("something broke", 500),
        ({"message": "something broke"}, 500),
    ],
)
def test_the_status_that_an_error_in_200_stands_for(error: Any, status: int) -> None:
    assert meant(error) == status
    assert meant({}, otherwise=200) == 200
