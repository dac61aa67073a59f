"""Kubernetes: the API server asked through its own client, and the driver's way to its scheduler inside a pod."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import os
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ale_dask.errors import BackendError
from ale_dask.execution.backends.base import Backend, DetachedRun, Submission, new_submission
from ale_dask.execution.backends.existing import client_at
from ale_dask.execution.backends.kubernetes_manifests import API, as_yaml, job_name, manifests, options_of
from ale_dask.storage.location import Place

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger(__name__)
_GROUP, _VERSION = API.split("/")
_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
"""Of the pod that this process is in, as in a hub of notebooks."""
_SECONDS = 20
"""To wait for an answer of the API server."""
_PATIENCE = 1800.0
"""Seconds until scheduler and first worker are up: nodes may have to be added, and the image pulled."""
_TAIL = 20


class Kubernetes(Backend):
    """A DaskJob of Dask's operator: the driver is a pod beside those of scheduler and workers."""

    def start(self, stack: contextlib.ExitStack) -> Client:
        """Return a client of the scheduler that the operator has made for the driver pod which this process is in."""
        address = os.environ.get("DASK_SCHEDULER_ADDRESS")
        if not address:
            raise BackendError(
                "kubernetes: the run's driver is a pod too: `ale-dask submit` starts it, `ale-dask status OUT --watch` "
                "waits for its end"
            )
        deadline, said = time.monotonic() + _PATIENCE, False
        while True:
            with contextlib.ExitStack() as attempt:
                try:
                    client = client_at(attempt, address, address)
                    if client.scheduler_info(n_workers=1)["workers"]:
                        stack.push(attempt.pop_all())
                        return client
                    lacking = "no worker is up"
                except (BackendError, OSError) as error:
                    lacking = str(error)
            if time.monotonic() > deadline:
                raise BackendError(f"kubernetes: after {_PATIENCE:g} s {lacking}; `ale-dask logs OUT` shows the pods")
            if not said:
                log.info(f"kubernetes: waiting for {address} and a worker")
                said = True
            time.sleep(1)

    def script(self, out: Place) -> str:
        """Return the manifests of the run."""
        return as_yaml(manifests(self.settings, out, name=job_name(out, unique=uuid.uuid4().hex)))

    def check(self, out: Place, *, unique: str) -> bool:
        """Log the namespace in which the API server would take the job, and return True."""
        documents = manifests(self.settings, out, name=f"ale-doctor-{unique[:8]}")
        namespace = create(documents, context=options_of(self.settings).context, dry_run=True)
        log.info(f"ok  Kubernetes would take the job in namespace {namespace}; nothing was made")
        return True

    def submit(self, run: DetachedRun) -> Submission:
        """Return the submission of the DaskJob."""
        made = new_submission("kubernetes")
        name = job_name(run.out, unique=made.id)
        documents = manifests(self.settings, run.out, name=name, arguments=run.options)
        context = options_of(self.settings).context
        # What the cluster would refuse leaves nothing behind.
        create(documents, context=context, dry_run=True)
        run.create()
        namespace = create(documents, context=context)
        return replace(made, jobs=(name,), namespace=namespace, context=context)

    def alive(self, submission: Submission, out: Place) -> bool | None:
        """Return whether the DaskJob waits or runs, or None when the API server does not say."""
        return running(**_job(submission))

    def describe(self, submission: Submission) -> str:
        """Return in words which DaskJob runs, and where."""
        return f"DaskJob {submission.jobs[0]} in namespace {submission.namespace}"

    def cancel(self, submission: Submission, out: Place) -> None:
        """Delete the DaskJob, with its cluster and driver."""
        delete(**_job(submission))

    def logs(self, submission: Submission) -> Iterator[str]:
        """Yield lines about the job's pods, and the end of the driver's log."""
        yield from pod_lines(**_job(submission))


def _job(submission: Submission) -> dict[str, Any]:
    where = {"namespace": submission.namespace or "default", "context": submission.context}
    return {"name": submission.jobs[0], **where}


def create(documents: Sequence[dict[str, Any]], *, context: str | None, dry_run: bool = False) -> str:
    """Return the namespace that the API server has made these objects in; dry, it only says whether it would.

    Raises
    ------
    BackendError
        when it does not answer, or would not make them.
    """
    extra = {"dry_run": "All"} if dry_run else {}
    with _api(context) as (api, namespace):
        for document in documents:
            where = document["metadata"].get("namespace", namespace)
            with _with_advice(f"create {document['kind']} {document['metadata']['name']}", where):
                api.CustomObjectsApi(api.own).create_namespaced_custom_object(
                    body=document, **_resource(document["kind"], where), **extra
                )
    return str(where)


def running(name: str, *, namespace: str, context: str | None) -> bool | None:
    """Return whether a job waits or runs, or None when the API server does not say."""
    try:
        with _api(context) as (api, _), _with_advice(f"get DaskJob {name}", namespace):
            try:
                job = api.CustomObjectsApi(api.own).get_namespaced_custom_object(
                    name=name, **_resource("DaskJob", namespace)
                )
            except api.ApiException as error:
                if error.status == 404:
                    return False
                raise
            if job.get("status", {}).get("jobStatus") in ("Successful", "Failed"):
                return False
            if "jobRunnerPodName" not in job.get("status", {}):
                return True
            # The operator says nothing of a driver whose node is gone.
            try:
                pod = api.CoreV1Api(api.own).read_namespaced_pod(
                    job["status"]["jobRunnerPodName"], namespace, _request_timeout=_SECONDS
                )
            except api.ApiException as error:
                return bool(error.status != 404)
            return str(pod.status.phase) not in ("Succeeded", "Failed")
    except BackendError:
        return None


def delete(name: str, *, namespace: str, context: str | None) -> None:
    """Delete a job, with its cluster and driver.

    Raises
    ------
    BackendError
        when the API server does not answer, or refuses.
    """
    with _api(context) as (api, _):
        for kind in ("DaskAutoscaler", "DaskJob"):
            with _with_advice(f"delete {kind} {name}", namespace):
                try:
                    api.CustomObjectsApi(api.own).delete_namespaced_custom_object(
                        name=name, **_resource(kind, namespace)
                    )
                except api.ApiException as error:
                    # No autoscaler was wanted, or somebody was quicker.
                    if error.status != 404:
                        raise


def pod_lines(name: str, *, namespace: str, context: str | None) -> Iterator[str]:
    """Yield lines about the pods of a job, why they wait or have ended, and the end of the driver's log."""
    try:
        with _api(context) as (api, _), _with_advice(f"list the pods of {name}", namespace):
            core = api.CoreV1Api(api.own)
            pods = core.list_namespaced_pod(
                namespace, label_selector=f"dask.org/cluster-name={name}", _request_timeout=_SECONDS
            ).items
            if not pods:
                yield f"--- no pods of {name} any more"
            for pod in pods:
                yield f"--- pod {pod.metadata.name}: {', '.join([pod.status.phase, *_reasons(pod)])}"
                if pod.metadata.name.endswith("-runner"):
                    with contextlib.suppress(api.ApiException):
                        text = core.read_namespaced_pod_log(
                            pod.metadata.name, namespace, tail_lines=_TAIL, _request_timeout=_SECONDS
                        )
                        yield from str(text).rstrip().splitlines()
    except BackendError as error:
        yield f"--- {error}"


def _reasons(pod: Any) -> Iterator[str]:
    for condition in pod.status.conditions or []:
        if condition.type == "PodScheduled" and condition.status == "False":
            yield f"{condition.reason}: {condition.message}"
    for container in pod.status.container_statuses or []:
        if container.restart_count:
            yield f"{container.restart_count} restart(s)"
        for state in (container.state, container.last_state):
            for found in (state and state.waiting, state and state.terminated):
                if found and found.reason != "Completed":
                    yield ": ".join(filter(None, (found.reason, found.message)))


def _resource(kind: str, namespace: str) -> dict[str, Any]:
    where = {"group": _GROUP, "version": _VERSION, "namespace": namespace, "plural": f"{kind.lower()}s"}
    return where | {"_request_timeout": _SECONDS}


@contextlib.contextmanager
def _api(context: str | None) -> Iterator[tuple[Any, str]]:
    """Yield the client's module, as `own` its connection, and the namespace of the context."""
    if importlib.util.find_spec("kubernetes") is None:
        raise BackendError('kubernetes: its client is not installed: pip install "ale-dask[kubernetes]"')
    from kubernetes import client, config

    configuration = client.Configuration()
    try:
        if not _kubeconfig() and _NAMESPACE.is_file():
            config.load_incluster_config(client_configuration=configuration)
            namespace = _NAMESPACE.read_text().strip()
        else:
            # Named, as the client reads KUBECONFIG at its import only.
            config.load_kube_config(_kubeconfig(), context=context, client_configuration=configuration)
            contexts, current = config.list_kube_config_contexts(_kubeconfig())
            found = next((each for each in contexts if each["name"] == context), current)
            namespace = found["context"].get("namespace") or "default"
    except (config.ConfigException, OSError, TypeError, ValueError) as error:
        raise BackendError(
            f"kubernetes: no way to a cluster ({error}); `kubectl config get-contexts` lists those of this machine, "
            "KUBECONFIG names another file, options.context another entry"
        ) from error
    with client.ApiClient(configuration) as own:
        yield _Client(client, own), namespace


def _kubeconfig() -> str | None:
    home = Path.home() / ".kube" / "config"
    return os.environ.get("KUBECONFIG") or (str(home) if home.is_file() else None)


class _Client:
    """The kubernetes client's module with a connection, so that callers need no import of their own."""

    def __init__(self, module: Any, own: Any) -> None:
        self.own = own
        self.ApiException = module.ApiException
        self.CoreV1Api = module.CoreV1Api
        self.CustomObjectsApi = module.CustomObjectsApi


@contextlib.contextmanager
def _with_advice(doing: str, namespace: str) -> Iterator[None]:
    """Turn errors of the API server and of the connection to it into BackendError with advice."""
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ApiException as error:
        raise BackendError(
            f"kubernetes: {doing} in namespace {namespace}: {_message(error)}; {_advice(error)}"
        ) from error
    except HTTPError as error:
        raise BackendError(
            f"kubernetes: {doing}: the API server does not answer ({error}); try `kubectl get ns`, and look whether "
            "options.context names the cluster that is meant"
        ) from error


def _message(error: Any) -> str:
    try:
        return str(json.loads(error.body)["message"])
    except (KeyError, TypeError, ValueError):
        return f"{error.status} {error.reason}"


def _advice(error: Any) -> str:
    text = _message(error)
    if error.status == 404 and "namespaces" not in text:
        return "the cluster does not know Dask's resources: its administrator installs the dask-kubernetes-operator"
    return {
        401: "the login has expired: log in again as for kubectl",
        403: "an administrator grants it as in deploy/kubernetes/access.yaml; "
        "`kubectl auth can-i create daskjobs.kubernetes.dask.org` asks",
        404: "options.namespace names another",
        409: "an object of that name is there: the same command again takes another name",
        422: "the object is not as the cluster's version of Dask's operator wants it: look at [backend] options, "
        "`ale-dask submit -n` prints it",
    }.get(error.status, "the same command later may do, what `kubectl get events` says may tell more")
