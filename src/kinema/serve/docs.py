"""`/docs`: the OpenAPI document as one plain page, which loads nothing from anywhere."""

from __future__ import annotations

import json
from html import escape
from typing import Any

_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>kinema API</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">
<style>
  body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
         color-scheme: light dark; }}
  pre {{ overflow-x: auto; font-size: 13px; border: 1px solid #8884; border-radius: 6px; padding: .8rem; }}
  h2 {{ margin: 2rem 0 .2rem; font-size: 1.05rem; }} td {{ padding: 0 1rem 0 0; vertical-align: top; }}
</style></head><body><h1>kinema {version}</h1><p>{about}</p>
<p>For programs: <a href="/openapi.json">openapi.json</a>. What travels on the websockets is told in
<code>docs/protocols.md</code>.</p>{routes}<h1>Values</h1>{schemas}</body></html>"""


def page(document: dict[str, Any]) -> str:
    routes = "".join(
        f"<h2><code>{method.upper()} {escape(path)}</code></h2>"
        f"<p>{escape(told.get('summary', ''))}</p><table>"
        + "".join(
            f"<tr><td>{escape(status)}</td><td>{escape(answer.get('description', ''))}</td></tr>"
            for status, answer in told.get("responses", {}).items()
        )
        + "</table>"
        for path, methods in document["paths"].items()
        for method, told in methods.items()
    )
    schemas = "".join(
        f"<h2>{escape(name)}</h2><pre>{escape(json.dumps(schema, indent=1))}</pre>"
        for name, schema in document["components"]["schemas"].items()
    )
    about = escape(document["info"].get("description", ""))
    return _PAGE.format(
        version=escape(document["info"]["version"]), about=about, routes=routes, schemas=schemas
    )
