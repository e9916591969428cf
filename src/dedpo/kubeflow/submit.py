"""Start a compiled pipeline on Kubeflow; its parameters are checked before anything is sent."""

from __future__ import annotations

import difflib
import json
import urllib.error
import urllib.request
import warnings
from collections.abc import Mapping
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

import yaml

from dedpo.contract import yaml_text
from dedpo.errors import UserError, excerpt
from dedpo.kubeflow import offline, overrides
from dedpo.kubeflow.parameters import Request

if TYPE_CHECKING:
    from kfp import Client

NO_API: Final = "is this Kubeflow's API?"
_LOGIN: Final = "it wants a login; start a port-forward to svc/ml-pipeline-ui, or submit with the kfp command"
_LATER: Final = "it is busy or starts; wait until its pods are ready (kubectl -n kubeflow get pods), and submit again"
REMEDIES: Final = dict.fromkeys((401, 403), _LOGIN) | dict.fromkeys((429, 502, 503, 504), _LATER)
HEALTH: Final = "/apis/v2beta1/healthz"
SECONDS: Final = 10.0
CONFLICT: Final = 409
# Parameter type → how to say it, and the types of Python that hold it.
TYPES: Final[dict[str, tuple[str, tuple[type, ...]]]] = {
    "NUMBER_INTEGER": ("a whole number", (int,)),
    "NUMBER_DOUBLE": ("a number", (int, float)),
    "BOOLEAN": ("true or false", (bool,)),
    "LIST": ('a list such as \'["a", "b"]\'', (list,)),
    "STRUCT": ("an object such as '{\"train.steps\": 500}'", (dict,)),
}


class Run(NamedTuple):
    """A run that was started."""

    name: str
    run_id: str
    link: str


def arguments(package: Path, given: list[str], params: Path | None = None) -> tuple[str, dict[str, Any]]:
    """The pipeline's name, and its parameters from texts such as 'seed=1', checked against the package's own inputs.

    Args:
        params: a params file: its settings become parameters where there are some, and overrides where they differ from
            the defaults; what is `given` comes first.

    Raises:
        UserError: no compiled pipeline, an unknown or repeated parameter, a wrong type, one that is missing, or what
            the pipeline's first task would refuse without asking anybody.
    """
    spec = _read(package)
    known = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    values: dict[str, Any] = {}
    for item in given:
        name, equals, text = item.partition("=")
        if not equals:
            raise UserError(f"--set-param {item}: write it as name=value")
        if name in values:
            raise UserError(f"--set-param {item}: '{name}' is given twice")
        if name not in known:
            raise UserError(f"--set-param {item}: {package} has no parameter '{name}'{_nearest(name, known)}")
        values[name] = _value(name, text, known[name]["parameterType"])
    if params is not None:
        values = _with_file(params, values)
    missing = [n for n, p in known.items() if n not in values and not p.get("isOptional")]
    if missing:
        told = "; ".join(f"{n}: {known[n].get('description', '')}" for n in missing)
        raise UserError(f"{package}: missing {', '.join(missing)} (add --set-param {missing[0]}=…; {told})")
    run = {name: p.get("defaultValue") for name, p in known.items()} | values
    if asked := Request.of(run):
        offline.check(asked)
    return str(spec["pipelineInfo"]["name"]), values


def _with_file(params: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a params file, overlaid by `values`; overrides are laid over each other, key by key."""
    parameters, rest = overrides.of_file(params)
    mine = overrides.read(str(values.get("overrides", "")))
    return parameters | dict(values) | {"overrides": json.dumps(rest | mine, sort_keys=True)}


def _read(package: Path) -> dict[str, Any]:
    try:
        # The C parser takes a tenth of the time, where it was built.
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        spec = next(yaml.load_all(package.read_text(encoding="utf-8"), Loader=loader), None)
    except OSError as error:
        raise UserError(f"{package}: {error.strerror or error}; name a compiled pipeline (make compile)") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{package}: not valid YAML: {excerpt(str(error))}") from None
    if not isinstance(spec, dict) or not {"root", "pipelineInfo"} <= spec.keys():
        raise UserError(f"{package}: no compiled pipeline; 'make compile' writes pipelines/dedpo.yaml")
    return spec


def _nearest(name: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else f"; known: {', '.join(known)}"


def _value(name: str, text: str, kind: str) -> Any:
    if kind not in TYPES:
        return text
    words, types = TYPES[kind]
    try:
        value = yaml_text.parse(text)
    except ValueError:
        value = None
    if isinstance(value, float) and value.is_integer() and kind == "NUMBER_INTEGER":
        value = int(value)
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        raise UserError(f"--set-param {name}={excerpt(text)}: expected {words}")
    return value


def submit(
    package: Path, values: Mapping[str, Any], *, name: str, endpoint: str, experiment: str, service_account: str | None
) -> Run:
    """Start one run with checked parameters; the experiment is made if there is none of that name.

    Raises:
        UserError: nothing answers at the endpoint, or it refuses.
    """
    _check_endpoint(endpoint)
    from kfp import Client
    from kfp_server_api.exceptions import ApiException

    try:
        # kfp prints links and warns which server it wants; ours is the one line.
        with redirect_stdout(StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            client = Client(host=endpoint)
            run = client.run_pipeline(
                _experiment(client, experiment),
                name,
                pipeline_package_path=str(package),
                params=dict(values),
                service_account=service_account,
            )
    except ApiException as error:
        reason = excerpt(error.body or error.reason or str(error))
        raise UserError(f"{endpoint}: Kubeflow refused ({error.status}): {reason}") from None
    return Run(name, run.run_id, f"{endpoint.rstrip('/')}/#/runs/details/{run.run_id}")


def _experiment(client: Client, name: str) -> str:
    """The experiment's id; it is made where it is missing."""
    from kfp_server_api.exceptions import ApiException

    try:
        found = client.create_experiment(name)
    except ApiException as error:
        if error.status != CONFLICT:
            raise
        # Somebody else has made it in between.
        found = client.get_experiment(experiment_name=name)
    return str(found.experiment_id)


def _check_endpoint(endpoint: str) -> None:
    """kfp's own client would try for half a minute and end in a page of traceback."""
    if urlsplit(endpoint).scheme not in ("http", "https"):
        raise UserError(f"--endpoint {endpoint}: not an http(s) address; write it like http://127.0.0.1:8080")
    try:
        with urllib.request.urlopen(endpoint.rstrip("/") + HEALTH, timeout=SECONDS) as answer:  # noqa: S310 (checked)
            json.loads(answer.read())
    except urllib.error.HTTPError as error:
        raise UserError(
            f"--endpoint {endpoint}: answers {error.code} {error.reason}; {REMEDIES.get(error.code, NO_API)}"
        ) from None
    except ValueError:
        raise UserError(
            f"--endpoint {endpoint}: a page and no API answers there, perhaps a login; start a port-forward to "
            "svc/ml-pipeline-ui, or submit with the kfp command, which knows your login"
        ) from None
    except OSError as error:
        reason = getattr(error, "reason", None) or error
        raise UserError(
            f"--endpoint {endpoint}: {reason}; start a port-forward, for example "
            "'kubectl -n kubeflow port-forward svc/ml-pipeline-ui 8080:80'"
        ) from None
