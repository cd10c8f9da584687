"""A hub of a few addresses on the loopback: what pushing and loading a model take."""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "a" * 40


class Hub(ThreadingHTTPServer):
    """Models by name: revision to files; and what was asked."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.models, self.asked = {}, []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def answer(self, content, status=200, **headers):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": len(body), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def missing(self, code):
        self.answer({"error": code}, 404, X_Error_Code=code)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append(self.path)
        if self.path == "/api/repos/create":
            said = json.loads(body)
            name = f"{said['organization']}/{said['name']}"
            self.server.models.setdefault(name, {"main": {}})
            return self.answer({"url": f"{self.server.url}/{name}"})
        if self.path == "/api/validate-yaml":
            return self.answer({"errors": [], "warnings": []})
        name = re.match(r"/api/models/([^/]+/[^/]+)/", self.path)[1]
        if "/preupload/" in self.path:
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None}
                for file in json.loads(body)["files"]
            ]
            return self.answer({"files": files})
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                content = base64.b64decode(line["value"]["content"])
                self.server.models[name]["main"][line["value"]["path"]] = content
        return self.answer(
            {"commitUrl": f"{self.server.url}/{name}/commit/{COMMIT}", "commitOid": COMMIT}
        )

    def do_GET(self):
        self.server.asked.append(self.path)
        path = self.path.partition("?")[0]
        if found := re.match(r"/api/models/([^/]+/[^/]+)/(revision|tree)/([^/]+)", path):
            name, what, revision = found.groups()
            model = self.server.models.get(name)
            if model is None:
                return self.missing("RepoNotFound")
            files = model.get("main" if revision == COMMIT else revision)
            if files is None:
                return self.missing("RevisionNotFound")
            if what == "tree":
                return self.answer(
                    [
                        {
                            "type": "file",
                            "oid": hashlib.sha1(text).hexdigest(),
                            "size": len(text),
                            "path": file,
                        }
                        for file, text in files.items()
                    ]
                )
            return self.answer(
                {
                    "id": name, "modelId": name, "sha": COMMIT, "private": False, "tags": [],
                    "downloads": 0, "likes": 0, "siblings": [{"rfilename": file} for file in files],
                }
            )  # fmt: skip
        name, revision, file = re.match(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path).groups()
        content = self.server.models[name]["main" if revision == COMMIT else revision].get(file)
        if content is None:
            return self.missing("EntryNotFound")
        etag = f'"{hashlib.sha1(content).hexdigest()}"'
        return self.answer(content, X_Repo_Commit=COMMIT, ETag=etag)

    do_HEAD = do_GET


@contextmanager
def stub_hub():
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
