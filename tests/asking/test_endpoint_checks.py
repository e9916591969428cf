"""Endpoints asked for what costs nothing: lists of models as each vendor writes them, redirects, keys."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from dedpo.asking import endpoint_checks
from dedpo.contract.sections import LabelConfig
from dedpo.world.serve import listening


@pytest.mark.parametrize(
    ("listed", "state"), [(["models/vlm"], "ok"), (["vlm"], "ok"), (["other"], "missing"), (None, "note"), ([], "ok")]
)
def test_a_list_of_models_is_read_as_each_vendor_writes_it(listed: list[str] | None, state: str) -> None:
    async def models(_: Request) -> Response:
        if listed is None:
            return Response(status_code=404)
        return JSONResponse({"data": [{"id": name} for name in listed]})

    with listening(Starlette(routes=[Route("/v1/models", models)])) as url:
        found = endpoint_checks.annotator(LabelConfig(base_url=f"{url}/v1", model="vlm"), endpoint_checks.HERE)
    assert found.state == state


def test_a_redirect_does_not_carry_the_key_away() -> None:
    seen = []

    async def thief(request: Request) -> Response:
        seen.append(request.headers.get("authorization"))
        return JSONResponse({"data": [{"id": "biased-vlm"}]})

    routes = [Route("/v1/models", lambda _: RedirectResponse("/stolen")), Route("/stolen", thief)]
    with listening(Starlette(routes=routes)) as url:
        answer = endpoint_checks.get(f"{url}/v1/models", {"Authorization": "Bearer sk-very-secret-0123456789"})
    assert answer.status == 307
    assert seen == []
