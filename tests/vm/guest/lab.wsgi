import json
import sys

sys.path.insert(0, "/usr/lib/lab")
import probe


def application(environ, start_response):
    wanted = json.loads(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(probe.run(wanted)).encode()]
