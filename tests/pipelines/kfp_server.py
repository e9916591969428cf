"""A stand-in for the KFP v2beta1 API: what kfp's client and command call, and what arrived.

Like the real one (2.17, backend/src/apiserver: template/v2_template.go, resource/resource_manager.go,
storage/experiment_store.go, server/run_server.go) it refuses a run that lacks a parameter, has one too many, or one of
another type, that has no name, or belongs to an experiment that is not there (404); and an experiment whose name is
taken (409).
"""

from __future__ import annotations

import json
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

API = "/apis/v2beta1"
TYPES: dict[str, tuple[str, set[type]]] = {
    "STRING": ("string", {str}),
    "NUMBER_INTEGER": ("double or integer", {int, float}),
    "BOOLEAN": ("bool", {bool}),
    "LIST": ("list", {list}),
    "STRUCT": ("struct", {dict}),
}


class Cluster:
    """Experiments and the runs that were created."""

    def __init__(self, *experiments: str) -> None:
        self.experiments = {name: f"experiment-{i}" for i, name in enumerate(experiments)}
        self.runs: list[dict[str, Any]] = []
        self.calls: list[str] = []

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route(f"{API}/healthz", self._health),
                Route(f"{API}/experiments", self._list),
                Route(f"{API}/experiments", self._create_experiment, methods=["POST"]),
                Route(f"{API}/runs", self._create_run, methods=["POST"]),
                Route(f"{API}/runs/{{run_id}}", self._run),
            ]
        )

    async def _health(self, _: Request) -> Response:
        return JSONResponse({"multi_user": False})

    async def _list(self, request: Request) -> Response:
        self.calls.append("list experiments")
        (predicate,) = json.loads(request.query_params["filter"])["predicates"]
        assert (predicate["key"], predicate["operation"]) == ("display_name", 1), "kfp's EQUALS"
        name = predicate["stringValue"]
        found = [_experiment(name, self.experiments[name])] if name in self.experiments else []
        return JSONResponse({"experiments": found, "total_size": len(found)})

    async def _create_experiment(self, request: Request) -> Response:
        self.calls.append("create experiment")
        name = (await request.json())["display_name"]
        if name in self.experiments:
            return _error(409, 6, f"Failed to create an experiment: the name {name} already exists")
        self.experiments[name] = f"experiment-{len(self.experiments)}"
        return JSONResponse(_experiment(name, self.experiments[name]))

    async def _create_run(self, request: Request) -> Response:
        self.calls.append("create run")
        run = await request.json()
        if not run.get("display_name"):
            return _error(400, 3, "The run name is empty. Please specify a valid name")
        if run.get("experiment_id") not in self.experiments.values():
            return _error(404, 5, f"Experiment {run.get('experiment_id')} not found")
        spec = run["pipeline_spec"].get("pipeline_spec", run["pipeline_spec"])
        known = spec["root"]["inputDefinitions"]["parameters"]
        given = run["runtime_config"].get("parameters", {})
        if wrong := _wrong(given, known):
            return _error(400, 3, wrong)
        self.runs.append(run)
        return JSONResponse(self._shown(len(self.runs) - 1))

    async def _run(self, request: Request) -> Response:
        number = request.path_params["run_id"].removeprefix("run-")
        if not number.isdigit() or int(number) >= len(self.runs):
            return _error(404, 5, f"Run {request.path_params['run_id']} not found")
        return JSONResponse(self._shown(int(number)))

    def _shown(self, index: int) -> dict[str, Any]:
        run = self.runs[index]
        kept = {"display_name": run["display_name"], "experiment_id": run["experiment_id"]}
        return kept | {"run_id": f"run-{index}", "state": "PENDING", "created_at": "2026-11-21T00:00:00Z"}


def _wrong(given: dict[str, Any], known: dict[str, Any]) -> str | None:
    for name, parameter in known.items():
        if name not in given and not parameter.get("isOptional"):
            return f"parameter {name} is not optional, yet has neither default value nor user provided value"
        kind, types = TYPES[parameter["parameterType"]]
        if name in given and type(given[name]) not in types:
            return f"input parameter {name} requires type {kind}, but the parameter value is not of {kind} value type"
    unknown = sorted(given.keys() - known.keys())
    return f"parameter(s) provided are not required by pipeline: {', '.join(unknown)}" if unknown else None


def _error(status: int, code: int, reason: str) -> Response:
    return JSONResponse({"error": reason, "code": code, "message": reason}, status)


def _experiment(name: str, number: str) -> dict[str, str]:
    return {"experiment_id": number, "display_name": name, "created_at": "2026-11-21T00:00:00Z"}
