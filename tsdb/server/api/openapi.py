"""/openapi.yaml: the table of routes as an OpenAPI 3.1 document."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import yaml

from tsdb.server.http.answer import Answer
from tsdb.server.http.route import Parameter, Permission, Request, Route
from tsdb.server.metrics import version
from tsdb.server.services import Services

Shape = dict[str, Any]

YAML = "application/yaml"

_SCHEMAS: dict[str, Shape] = {
    "integer": {"type": "integer", "format": "int64"},
    "boolean": {"type": "boolean"},
    "time": {"type": "string", "description": "Seconds since 1970 or RFC 3339.", "examples": ["1435781430.781"]},
    "duration": {"type": "string", "description": "Seconds, or text such as 5m.", "examples": ["5m"]},
    "PromQL": {"type": "string", "examples": ["sum by (job) (rate(http_requests_total[5m]))"]},
    "selector": {"type": "string", "examples": ['up{job="node"}']},
    "JSON": {"type": "string", "contentMediaType": "application/json"},
    "text": {"type": "string"},
}
"""Of types of parameters."""

_RESPONSES: Shape = {
    "Success": {
        "type": "object",
        "required": ["status"],
        "properties": {
            "status": {"const": "success"},
            "data": {},
            "warnings": {"type": "array", "items": {"type": "string"}},
            "infos": {"type": "array", "items": {"type": "string"}},
        },
    },
    "Error": {
        "type": "object",
        "required": ["status", "errorType", "error"],
        "properties": {
            "status": {"const": "error"},
            "errorType": {"type": "string"},
            "error": {"type": "string"},
        },
    },
}


async def openapi(services: Services, request: Request) -> Answer:
    from tsdb.server.api.routes import ROUTES

    text = yaml.safe_dump(document(ROUTES, services.external_url), sort_keys=False, allow_unicode=True, width=120)
    return Answer(200, [text.encode()], YAML)


def document(routes: Sequence[Route], url: str) -> Shape:
    """The document, for a server that is reached under `url`."""
    paths: dict[str, Shape] = {}
    for route in routes:
        for method in route.methods:
            paths.setdefault(route.path, {})[method.lower()] = _operation(route, method)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "tsdb", "version": version(),
            "description": "A time-series database server that speaks Prometheus' HTTP API.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": url or "/"}],
        "paths": paths,
        "components": {
            "schemas": _RESPONSES,
            "securitySchemes": {"basic": {"type": "http", "scheme": "basic"}},
        },
    }


def _operation(route: Route, method: str) -> Shape:
    operation: Shape = {
        "operationId": _operation_id(route.path, method),
        "summary": route.doc,
        "tags": [str(route.permission)],
        "responses": _responses(route),
    }
    names = re.findall(r"\{(\w+)\}", route.path)
    in_path = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]
    if method in ("POST", "PUT") and route.parameters and "GET" in route.methods:
        operation["requestBody"] = _form(route.parameters)
        if in_path:
            operation["parameters"] = in_path
    elif in_path or route.parameters:
        operation["parameters"] = in_path + [_parameter(parameter) for parameter in route.parameters]
    if route.permission is not Permission.PUBLIC:
        operation["security"] = [{}, {"basic": []}]
    return operation


def _operation_id(path: str, method: str) -> str:
    words = re.findall(r"\w+", path)
    return "_".join([method.lower(), *words])


def _parameter(parameter: Parameter) -> Shape:
    return {
        "name": parameter.name, "in": "query", "required": parameter.required, "description": parameter.doc,
        "schema": _schema(parameter),
    }


def _form(parameters: Sequence[Parameter]) -> Shape:
    schema: Shape = {
        "type": "object",
        "properties": {each.name: {**_schema(each), "description": each.doc} for each in parameters},
    }
    required = [each.name for each in parameters if each.required]
    if required:
        schema["required"] = required
    return {"content": {"application/x-www-form-urlencoded": {"schema": schema}}}


def _schema(parameter: Parameter) -> Shape:
    schema = _SCHEMAS[parameter.type]
    return {"type": "array", "items": dict(schema)} if parameter.name.endswith("[]") else dict(schema)


def _responses(route: Route) -> Shape:
    if not route.api:
        return {"default": {"description": "Text."}}
    return {
        "2XX": {"description": "Done.", "content": _json("Success")},
        "default": {"description": "An error.", "content": _json("Error")},
    }


def _json(schema: str) -> Shape:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
