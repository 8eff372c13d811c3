//! `/-/openapi.json`: the plugins as OpenAPI 3.1 describes them.
//!
//! Runs on the blocking threads of the I/O side. Promise: every plugin appears, in load order, one without type hints
//! with whatever variables it likes; Python has no part in it, since what plugins say of themselves was read when they
//! were loaded. Caveat: what a plugin does below its own path is its own affair and is not described.

use http::{HeaderValue, Response, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::{Map, Value, json};

use super::state::Snapshot;
use crate::edge::config::keys::KeySources;
use crate::edge::http::entity_tag;
use crate::edge::http::response::{Body, json_text, to_json};
use crate::edge::policy::credential::AuthPolicy;
use crate::edge::routing::Endpoint;

/// What ids have escaped in a path; braces would be a part that varies.
const ESCAPED: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'%').add(b'<').add(b'>').add(b'?').add(b'`').add(b'{').add(b'}');

/// Where definitions of a plugin's schemas are, and where they go.
const LOCAL: &str = "#/$defs/";
const PLACE: &str = "#/components/schemas/";

/// How deep schemas are looked into for objects; one that holds itself has no end.
const MAX_DEPTH: usize = 8;

/// The answer; one that the client has already is left out.
pub(super) fn respond(snapshot: &Snapshot, if_none_match: Option<&HeaderValue>) -> serde_json::Result<Response<Body>> {
    let mut response = json_text(StatusCode::OK, to_json(&document(snapshot))?);
    entity_tag::add(&mut response);
    if if_none_match.is_some_and(|tags| entity_tag::is_known(&response, tags)) {
        entity_tag::leave_out(&mut response);
    }
    Ok(response)
}

/// The whole description.
fn document(snapshot: &Snapshot) -> Value {
    let (mut paths, mut tags, mut schemas) = (Map::new(), Vec::new(), Map::new());
    schemas.insert("Error".to_owned(), error());
    schemas.insert("Invalid".to_owned(), invalid());
    for endpoint in snapshot.table.endpoints() {
        let path = format!("/{}", utf8_percent_encode(endpoint.id(), ESCAPED));
        let mut tag = json!({"name": &**endpoint.id()});
        if let Some(about) = endpoint.description.get("about") {
            tag["description"] = about.clone();
        }
        tags.push(tag);
        paths.insert(path, of_plugin(endpoint, snapshot, &mut schemas));
    }
    json!({
        "openapi": "3.1.0",
        "info": {"title": "plugincore", "version": env!("CARGO_PKG_VERSION")},
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": schemes(snapshot.keys.sources),
            "responses": refusals(),
        },
    })
}

/// The methods of a plugin, with what it says of itself in the place of what is generated.
fn of_plugin(endpoint: &Endpoint, snapshot: &Snapshot, schemas: &mut Map<String, Value>) -> Value {
    let mut path = Map::new();
    let own = endpoint.description.get("own").and_then(Value::as_object);
    let methods: Vec<_> = endpoint.methods.names().into_iter().map(str::to_ascii_lowercase).collect();
    // GET implies HEAD, and OPTIONS is the server's.
    let is_shown = |method: &str| method != "options" && (method != "head" || !methods.iter().any(|one| one == "get"));
    for method in methods.iter().filter(|method| is_shown(method)) {
        let mut operation = operation(method, endpoint, snapshot, schemas);
        for (name, value) in own.into_iter().flatten().filter(|(name, _)| !methods.contains(name)) {
            replace(&mut operation, name, value);
        }
        for (name, value) in own.and_then(|own| own.get(method)).and_then(Value::as_object).into_iter().flatten() {
            replace(&mut operation, name, value);
        }
        path.insert(method.clone(), Value::Object(operation));
    }
    Value::Object(path)
}

/// Puts a member in the place of a generated one, or takes that away if it is null.
fn replace(operation: &mut Map<String, Value>, name: &str, value: &Value) {
    if value.is_null() {
        operation.remove(name);
    } else {
        operation.insert(name.to_owned(), value.clone());
    }
}

fn operation(
    method: &str,
    endpoint: &Endpoint,
    snapshot: &Snapshot,
    schemas: &mut Map<String, Value>,
) -> Map<String, Value> {
    let id = endpoint.id();
    let mut operation = Map::new();
    operation.insert("operationId".to_owned(), json!(format!("{method}_{id}")));
    operation.insert("tags".to_owned(), json!([&**id]));
    for name in ["summary", "description"] {
        if let Some(text) = endpoint.description.get(name) {
            operation.insert(name.to_owned(), text.clone());
        }
    }
    let typed = endpoint.parameters.as_ref().map(|parameters| local(parameters.schema(), id, schemas));
    let is_read = matches!(method, "get" | "head");
    if is_read || (method == "delete" && typed.is_some()) {
        operation
            .insert("parameters".to_owned(), typed.as_ref().map_or_else(free_query, |typed| query(typed, schemas)));
    } else {
        operation.insert("requestBody".to_owned(), typed.as_ref().map_or_else(free_body, |typed| body(typed, schemas)));
    }
    operation.insert("security".to_owned(), endpoint.by_policy(|policy| security(policy, snapshot)));
    operation.insert("responses".to_owned(), responses(endpoint, snapshot, !is_read, schemas));
    operation
}

/// A schema of the plugin `id`, whose definitions are moved to `schemas`.
fn local(schema: &Value, id: &str, schemas: &mut Map<String, Value>) -> Value {
    let place = |name: &str| format!("{}.{name}", id.replace(|letter: char| !letter.is_ascii_alphanumeric(), "_"));
    let mut schema = schema.clone();
    let definitions = schema.as_object_mut().and_then(|schema| schema.remove("$defs"));
    for (name, definition) in definitions.as_ref().and_then(Value::as_object).into_iter().flatten() {
        let mut definition = definition.clone();
        rename(&mut definition, &place);
        schemas.insert(place(name), definition);
    }
    rename(&mut schema, &place);
    schema
}

/// Has references lead to where definitions have been moved.
fn rename(schema: &mut Value, place: &dyn Fn(&str) -> String) {
    match schema {
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::String(target) if name == "$ref" => {
                        if let Some(known) = target.strip_prefix(LOCAL) {
                            *target = format!("{PLACE}{}", place(known));
                        }
                    }
                    value => rename(value, place),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, place)),
        _ => {}
    }
}

fn is_required(schema: &Value, name: &str) -> bool {
    schema["required"].as_array().is_some_and(|required| required.iter().any(|one| one == name))
}

/// The parameters of a typed handler as variables of the query.
fn query(schema: &Value, schemas: &Map<String, Value>) -> Value {
    let properties = schema["properties"].as_object().into_iter().flatten();
    let parameters = properties.map(|(name, property)| {
        let mut parameter = json!({"name": name, "in": "query", "required": is_required(schema, name)});
        if let Some(text) = property.get("description") {
            parameter["description"] = text.clone();
        }
        if is_structured(property, schemas, MAX_DEPTH) {
            parameter["content"] = json!({"application/json": {"schema": property}});
        } else {
            parameter["schema"] = not_empty(property);
        }
        parameter
    });
    parameters.collect()
}

/// Whether a value may be an object, or holds such, which a query has as text of JSON.
fn is_structured(schema: &Value, schemas: &Map<String, Value>, depth: usize) -> bool {
    let Some(depth) = depth.checked_sub(1) else { return true };
    let target = schema.get("$ref").and_then(Value::as_str).and_then(|target| schemas.get(target.strip_prefix(PLACE)?));
    let parts =
        ["anyOf", "oneOf", "allOf", "prefixItems"].into_iter().filter_map(|word| schema[word].as_array()).flatten();
    let is_object = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().any(|kind| kind == "object"),
        kind => kind == "object",
    };
    is_object || parts.chain(target).chain(schema.get("items")).any(|part| is_structured(part, schemas, depth))
}

/// The schema of a text in a query or a form, of which an empty one counts as absent.
fn not_empty(schema: &Value) -> Value {
    let mut schema = schema.clone();
    if schema["type"] == "string" && schema.get("minLength").is_none() && schema.get("enum").is_none() {
        schema["minLength"] = json!(1);
    }
    if let Some(items) = schema.get("items").map(not_empty) {
        schema["items"] = items;
    }
    schema
}

/// Whatever variables a query may have.
fn free_query() -> Value {
    json!([{
        "name": "variables",
        "in": "query",
        "description": "Any variables",
        "required": false,
        "style": "form",
        "explode": true,
        "schema": {"type": "object", "additionalProperties": {"type": "string"}},
    }])
}

/// The parameters of a typed handler as a body.
fn body(schema: &Value, schemas: &Map<String, Value>) -> Value {
    let mut content = json!({"application/json": {"schema": schema}});
    let properties = schema["properties"].as_object();
    if !properties.into_iter().flatten().any(|(_, property)| is_structured(property, schemas, MAX_DEPTH)) {
        let mut form = schema.clone();
        for property in form["properties"].as_object_mut().into_iter().flat_map(|all| all.values_mut()) {
            *property = not_empty(property);
        }
        content["application/x-www-form-urlencoded"] = json!({"schema": form});
        content["multipart/form-data"] = json!({"schema": form});
    }
    let is_required = schema["required"].as_array().is_some_and(|required| !required.is_empty());
    json!({"required": is_required, "content": content})
}

/// Whatever a body may be.
fn free_body() -> Value {
    // What is no object or form is no error, either: the plugin can read it as it came.
    let types = ["application/json", "application/x-www-form-urlencoded", "multipart/form-data", "*/*"];
    let content: Map<_, _> = types.iter().map(|name| ((*name).to_owned(), json!({"schema": {}}))).collect();
    json!({"required": false, "content": content})
}

/// The names of the ways to send a key in the head of a request, and what they are.
fn schemes(sources: KeySources) -> Value {
    let mut schemes = Map::new();
    if sources.header {
        schemes.insert("bearer".to_owned(), json!({"type": "http", "scheme": "bearer"}));
        schemes.insert("header".to_owned(), json!({"type": "apiKey", "in": "header", "name": "X-Custom-Auth"}));
    }
    if sources.query {
        schemes.insert("query".to_owned(), json!({"type": "apiKey", "in": "query", "name": "apikey"}));
    }
    Value::Object(schemes)
}

/// One of the ways, or none for a plugin that is open; one that decides by itself may need none.
fn security(policy: &AuthPolicy, snapshot: &Snapshot) -> Value {
    if matches!(policy, AuthPolicy::Open) {
        return json!([]);
    }
    let schemes = schemes(snapshot.keys.sources);
    let mut ways: Vec<_> = schemes.as_object().into_iter().flatten().map(|(name, _)| json!({name: []})).collect();
    if matches!(policy, AuthPolicy::ByPlugin) {
        ways.push(json!({}));
    }
    Value::Array(ways)
}

fn responses(endpoint: &Endpoint, snapshot: &Snapshot, has_body: bool, schemas: &mut Map<String, Value>) -> Value {
    let content = match endpoint.description.get("result") {
        Some(result) => json!({"application/json": {"schema": local(result, endpoint.id(), schemas)}}),
        None => json!({"*/*": {}}),
    };
    let mut responses = json!({
        "200": {"description": "The answer of the plugin", "content": content},
        "default": {"description": "Another answer of the plugin", "content": {"*/*": {}}},
    });
    let mut add = |status: &str, name: &str| {
        responses[status] = json!({"$ref": format!("#/components/responses/{name}")});
    };
    add("400", "BadRequest");
    if !endpoint.by_policy(|policy| matches!(policy, AuthPolicy::Open)) {
        if snapshot.challenge {
            add("401", "KeyRequired");
        }
        add("403", "Unauthorized");
    }
    if has_body {
        add("413", "BodyTooLarge");
        add("415", "UnsupportedCoding");
    }
    if endpoint.parameters.is_some() {
        add("422", "Invalid");
    }
    let rates = &endpoint.settings.rates;
    if rates.per_client.is_some() || rates.per_key.is_some() || snapshot.wrong_keys.is_some() {
        add("429", "TooManyRequests");
    }
    add("500", "Failed");
    add("503", "Busy");
    if endpoint.settings.handler_time.is_some() {
        add("504", "Overdue");
    }
    responses
}

/// The refusals and failures that are the server's.
fn refusals() -> Value {
    let refusals = [
        ("BadRequest", "The path or the body cannot be read"),
        ("KeyRequired", "A key is required"),
        ("Unauthorized", "There is no key, or a wrong one"),
        ("BodyTooLarge", "The body is too large"),
        ("UnsupportedCoding", "The body is compressed in a way that is not supported"),
        ("TooManyRequests", "Too many requests; Retry-After says when to try again"),
        ("Failed", "The plugin failed"),
        ("Busy", "The server is busy or stops, or the plugin is disabled; Retry-After says when to try again"),
        ("Overdue", "The plugin took too long"),
    ];
    let error = json!({"schema": {"$ref": "#/components/schemas/Error"}});
    let answer = |description: &str| {
        json!({
            "description": description,
            "content": {"application/json": error, "application/problem+json": error, "*/*": {}},
        })
    };
    let mut all: Map<_, _> = refusals.iter().map(|(name, text)| ((*name).to_owned(), answer(text))).collect();
    let invalid = json!({"schema": {"$ref": "#/components/schemas/Invalid"}});
    let text = "Variables do not fit what the plugin takes";
    all.insert("Invalid".to_owned(), json!({"description": text, "content": {"application/problem+json": invalid}}));
    Value::Object(all)
}

/// The form of all errors.
fn error() -> Value {
    json!({
        "type": "object",
        "properties": {
            "error": {"type": "string", "description": "A text for people"},
            "code": {"type": "string", "description": "A stable word for programs"},
            "request_id": {"type": "string"},
        },
    })
}

/// The form of the refusal of values.
fn invalid() -> Value {
    let entry = json!({
        "type": "object",
        "properties": {
            "pointer": {"type": "string", "description": "A JSON pointer into the variables"},
            "detail": {"type": "string"},
        },
        "required": ["pointer", "detail"],
    });
    json!({
        "type": "object",
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"const": 422},
            "detail": {"type": "string"},
            "error": {"type": "string"},
            "errors": {"type": "array", "items": entry},
            "code": {"const": "invalid"},
            "request_id": {"type": "string"},
        },
        "required": ["status", "error", "errors", "code", "request_id"],
    })
}
