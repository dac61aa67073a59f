"""What an API server of Kubernetes says to this package's requests, by the schemas that Dask's operator installs.

No API server is to be had as a package: neither pip nor Debian has kube-apiserver, kind or k3s. So the real client
talks HTTP to this one, which checks what it is sent against the CRDs in the wheel of dask-kubernetes, more strictly
than a real one: that drops keys that it does not know, here they are errors.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

VERSION = "1.31"
"""Of the core schemas that pods are checked against."""
TOKEN = "the token of the tests"
_PATH = re.compile(r"/apis/kubernetes\.dask\.org/v1/namespaces/([^/]+)/(\w+)(?:/([^/]+))?$")
_PODS = re.compile(r"/api/v1/namespaces/([^/]+)/pods(?:/([^/]+?)(/log)?)?$")


def lacking() -> str | None:
    """Return why manifests cannot be checked here, or None."""
    needed = ("kubernetes", "dask_kubernetes", "kubernetes_validate", "jsonschema")
    absent = ", ".join(name for name in needed if importlib.util.find_spec(name) is None)
    return f"nothing to check manifests with: {absent} not installed" if absent else None


@lru_cache(maxsize=1)
def schemas() -> dict[str, Any]:
    """Return the strict schema of each kind that the operator adds to a cluster."""
    found = importlib.util.find_spec("dask_kubernetes")
    assert found is not None
    assert found.submodule_search_locations
    # Not imported: the operator itself and what it needs have no part in this.
    folder = Path(found.submodule_search_locations[0], "operator/deployment/helm/dask-kubernetes-operator/crds")
    kinds = {}
    for path in folder.glob("*.yaml"):
        for document in yaml.safe_load_all(path.read_text()):
            schema = _strict(document["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
            schema["properties"] |= {key: {} for key in ("apiVersion", "kind", "metadata")}
            kinds[document["spec"]["names"]["kind"]] = schema
    return kinds


def _strict(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: _strict(value) for key, value in schema.items()}
    if schema.pop("x-kubernetes-int-or-string", None):
        schema.pop("type", None)
        schema["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    is_object = isinstance(schema.get("properties"), dict) and schema.get("type") == "object"
    if is_object and not schema.get("x-kubernetes-preserve-unknown-fields"):
        schema.setdefault("additionalProperties", False)
    return schema


def errors(document: dict[str, Any]) -> list[str]:
    """Return the errors of an object of the operator, and of each pod and service in it."""
    import jsonschema
    import kubernetes_validate

    found = jsonschema.Draft202012Validator(schemas()[document["kind"]]).iter_errors(document)
    said = [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in found]
    for core in _core(document["spec"]):
        try:
            kubernetes_validate.validate(core, VERSION, strict=True)
        except kubernetes_validate.ValidationError as error:
            said.append(f"{core['kind']}: {error.message}")
    return said


def _core(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    cluster = spec["cluster"]["spec"] if "job" in spec else {}
    parts = [spec.get("job"), cluster.get("scheduler"), cluster.get("worker")]
    for part in filter(None, parts):
        yield {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": part.get("spec")}
        if "service" in part:
            yield {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": part["service"]}


class Server(ThreadingHTTPServer):
    """Holds objects by namespace, plural and name; the test is the operator, and sets their status and pods."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.pods: dict[str, dict[str, Any]] = {}
        self.logs: dict[str, str] = {}
        self.installed = True
        """Whether the operator's kinds are known."""
        self.allowed = {"create", "get", "delete", "pods"}
        self.namespaces = {"default", "neuro"}
        self.requests: list[str] = []

    def write_config(self, path: Path, **changes: Any) -> None:
        """Write a kubeconfig for this server, whose context `here` has the namespace neuro."""
        url = f"http://127.0.0.1:{self.server_address[1]}"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "clusters": [{"name": "here", "cluster": {"server": url}}],
            "users": [{"name": "me", "user": {"token": TOKEN}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me", "namespace": "neuro"}}],
        }
        path.write_text(yaml.safe_dump(config | changes))

    @property
    def jobs(self) -> list[dict[str, Any]]:
        """The DaskJobs."""
        return [each for (_, plural, _), each in self.objects.items() if plural == "daskjobs"]


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""

    def _answer(self, code: int, content: Any) -> None:
        body = content.encode() if isinstance(content, str) else json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "text/plain" if isinstance(content, str) else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _refuse(self, code: int, reason: str, message: str) -> None:
        self._answer(code, {"kind": "Status", "status": "Failure", "reason": reason, "message": message, "code": code})

    def _asked(self, verb: str) -> tuple[str, str, str] | None:
        """Return namespace, plural and name of a request that may go on; another is answered here."""
        there = self.server
        url = urlsplit(self.path)
        there.requests.append(f"{self.command} {self.path}")
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._refuse(401, "Unauthorized", "Unauthorized")
        found = _PATH.match(url.path) if there.installed else None
        if found is None:
            # Not JSON: what a real one says of a path that it does not know.
            return self._answer(404, "404 page not found\n")
        namespace, plural, name = found[1], found[2], found[3] or ""
        if verb not in there.allowed:
            what = f'{plural}.kubernetes.dask.org is forbidden: User "me" cannot {verb} resource "{plural}"'
            return self._refuse(403, "Forbidden", what)
        return namespace, plural, name

    def do_POST(self) -> None:
        """Create."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked = self._asked("create")
        if asked is None:
            return
        namespace, plural, _ = asked
        name = body["metadata"]["name"]
        key = (namespace, plural, name)
        if namespace not in self.server.namespaces:
            self._refuse(404, "NotFound", f'namespaces "{namespace}" not found')
        elif body["metadata"].get("namespace", namespace) != namespace:
            self._refuse(400, "BadRequest", "the namespace of the object is not the request's")
        elif plural != f"{body['kind'].lower()}s" or (said := errors(body)):
            self._refuse(422, "Invalid", f'{body["kind"]} "{name}" is invalid: {"; ".join(said)}')
        elif key in self.server.objects:
            self._refuse(409, "AlreadyExists", f'{plural}.kubernetes.dask.org "{name}" already exists')
        else:
            if parse_qs(urlsplit(self.path).query).get("dryRun") != ["All"]:
                self.server.objects[key] = copy.deepcopy(body)
            self._answer(201, body)

    def do_GET(self) -> None:
        """Get an object, or pods and their logs."""
        if pods := _PODS.match(urlsplit(self.path).path):
            self._pods(pods[2], log=bool(pods[3]))
        elif asked := self._asked("get"):
            if asked in self.server.objects:
                self._answer(200, self.server.objects[asked])
            else:
                self._refuse(404, "NotFound", f'{asked[1]}.kubernetes.dask.org "{asked[2]}" not found')

    def _pods(self, name: str | None, *, log: bool) -> None:
        there = self.server
        if "pods" not in there.allowed:
            self._refuse(403, "Forbidden", 'pods is forbidden: User "me" cannot list resource "pods"')
        elif name is None:
            wanted = parse_qs(urlsplit(self.path).query)["labelSelector"][0]
            label, _, value = wanted.partition("=")
            items = [pod for pod in there.pods.values() if pod["metadata"]["labels"].get(label) == value]
            self._answer(200, {"kind": "PodList", "apiVersion": "v1", "items": items})
        elif name not in there.pods:
            self._refuse(404, "NotFound", f'pods "{name}" not found')
        else:
            self._answer(200, there.logs[name] if log else there.pods[name])

    def do_DELETE(self) -> None:
        """Delete."""
        asked = self._asked("delete")
        if asked is None:
            return
        if self.server.objects.pop(asked, None) is None:
            self._refuse(404, "NotFound", f'{asked[1]}.kubernetes.dask.org "{asked[2]}" not found')
        else:
            self._answer(200, {"kind": "Status", "status": "Success"})


@contextmanager
def kubeapi() -> Iterator[Server]:
    """Yield a server on loopback."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
