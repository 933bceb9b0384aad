"""Web: the status page in the browser. Needs the extra `web` (starlette, uvicorn, jinja2); see `statuspage.py`."""
