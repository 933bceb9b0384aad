#!/usr/bin/python3
import json
import os
import sys

sys.path.insert(0, "/usr/lib/lab")
import probe

wanted = json.loads(sys.stdin.read(int(os.environ.get("CONTENT_LENGTH") or 0)))
print("Content-Type: application/json\n")
print(json.dumps(probe.run(wanted)))
