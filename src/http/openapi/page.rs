//! The API's description as an HTML page: text, tables and links, no script. All text from the description is escaped.

use super::{OPEN_ENUM, headers, security};
use serde_json::{Map, Value};
use std::fmt::{self, Write as _};

/// The style sheet, a separate file because the page's security policy allows no inline style.
pub(in crate::http) const STYLE: &str = include_str!("page.css");

/// Maximum nesting of a schema within one line.
const LINE_DEPTH_MAX: usize = 4;

pub(in crate::http) fn page(document: &Value) -> String {
    let mut html = String::with_capacity(64 * 1024);
    // Writing to memory cannot fail.
    let _ = whole(&mut html, document);
    html
}

fn whole(html: &mut String, document: &Value) -> fmt::Result {
    let title = Text(document["info"]["title"].as_str().unwrap_or_default());
    let version = Text(document["info"]["version"].as_str().unwrap_or_default());
    write!(
        html,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title} API</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><link rel=\"stylesheet\" href=\"/api/docs.css\"></head>\
         <body><header><h1>{title} API</h1><p>{} Version {version}; <a href=\"/api/openapi.json\">OpenAPI 3.1</a>.</p></header><nav><ul>",
        Text(document["info"]["description"].as_str().unwrap_or_default()),
    )?;
    let operations = operations(document);
    for (method, path, operation) in &operations {
        let id = Text(operation["operationId"].as_str().unwrap_or_default());
        write!(
            html,
            "<li><a href=\"#{id}\"><b>{}</b> {}</a></li>",
            method.to_uppercase(),
            Text(path)
        )?;
    }
    html.push_str("</ul></nav><main>");
    for (method, path, operation) in &operations {
        one_operation(html, method, path, operation)?;
    }
    html.push_str("<section id=\"headers\"><h2>Headers</h2><table><tbody>");
    for (name, header) in members(&document["components"]["headers"]) {
        let description = Prose(header["description"].as_str().unwrap_or_default());
        let name = Text(name);
        write!(
            html,
            "<tr><td><code>{name}</code></td><td>{description}</td></tr>"
        )?;
    }
    html.push_str("</tbody></table></section><section id=\"schemas\"><h2>Schemas</h2>");
    for (name, schema) in members(&document["components"]["schemas"]) {
        one_schema(html, name, schema)?;
    }
    html.push_str("</section></main></body></html>\n");
    Ok(())
}

/// Returns every operation, in the order of the tags.
fn operations(document: &Value) -> Vec<(&str, &str, &Value)> {
    let mut found = Vec::new();
    for tag in document["tags"].as_array().into_iter().flatten() {
        for (path, methods) in members(&document["paths"]) {
            for (method, operation) in members(methods) {
                if operation["tags"][0] == tag["name"] {
                    found.push((method, path, operation));
                }
            }
        }
    }
    found
}

fn one_operation(html: &mut String, method: &str, path: &str, operation: &Value) -> fmt::Result {
    let id = Text(operation["operationId"].as_str().unwrap_or_default());
    write!(
        html,
        "<section id=\"{id}\"><h2><b>{}</b> {}</h2><p>{} {}</p>",
        method.to_uppercase(),
        Text(path),
        Prose(operation["summary"].as_str().unwrap_or_default()),
        Prose(operation["description"].as_str().unwrap_or_default()),
    )?;
    if let Some(parameters) = operation["parameters"].as_array() {
        parameters_table(html, parameters)?;
    }
    for (kind, body) in members(&operation["requestBody"]["content"]) {
        write!(
            html,
            "<p>Body: <code>{}</code>, {}</p>",
            Text(kind),
            Line(&body["schema"], 0)
        )?;
    }
    if let Some(scopes) = operation[security::SCOPES].as_array() {
        needed_key(html, scopes)?;
    }
    html.push_str(
        "<table><thead><tr><th>status</th><th>body</th><th>meaning</th></tr></thead><tbody>",
    );
    for (status, response) in members(&operation["responses"]) {
        let body = members(&response["content"]).next();
        let is_problem = body.is_some_and(|(kind, _)| kind == "application/problem+json");
        write!(html, "<tr><td>{}</td><td>", Text(status))?;
        match body {
            Some(_) if is_problem => html.push_str("<a href=\"#schema-Problem\">Problem</a>"),
            Some(("application/json", body)) => {
                write!(html, "{}", Line(&body["schema"], 0))?;
            }
            Some((kind, _)) => write!(html, "<code>{}</code>", Text(kind))?,
            None => {}
        }
        html.push_str("</td><td>");
        for line in response["description"]
            .as_str()
            .unwrap_or_default()
            .split("\n\n")
        {
            write!(html, "<div>{}</div>", Prose(line))?;
        }
        response_headers(html, &response["headers"])?;
        html.push_str("</td></tr>");
    }
    html.push_str("</tbody></table></section>");
    Ok(())
}

/// Writes which key an operation needs: one with any of these scopes, or any key if there are none.
fn needed_key(html: &mut String, scopes: &[Value]) -> fmt::Result {
    html.push_str("<p>Where an ingress requires keys: ");
    if scopes.is_empty() {
        html.push_str("any key");
    }
    let mut before = "a key with the scope ";
    for scope in scopes.iter().filter_map(Value::as_str) {
        write!(html, "{before}<code>{}</code>", Text(scope))?;
        before = " or ";
    }
    html.push_str(".</p>");
    Ok(())
}

/// Writes the headers of a response: those of its own with their descriptions, and the names of the shared ones.
fn response_headers(html: &mut String, all: &Value) -> fmt::Result {
    let (shared, own): (Vec<_>, Vec<_>) =
        members(all).partition(|(_, header)| header["$ref"].is_string());
    for (name, header) in own {
        let description = Prose(header["description"].as_str().unwrap_or_default());
        write!(
            html,
            "<div><code>{}</code>: {description}</div>",
            Text(name)
        )?;
    }
    let names = shared.into_iter().map(|(name, _)| name);
    let shared: Vec<&str> = names.filter(|name| *name != headers::REQUEST_ID).collect();
    if !shared.is_empty() {
        let shared = shared.join(", ");
        write!(
            html,
            "<div><a href=\"#headers\">Headers</a>: {}</div>",
            Text(&shared)
        )?;
    }
    Ok(())
}

fn parameters_table(html: &mut String, parameters: &[Value]) -> fmt::Result {
    html.push_str(
        "<table><thead><tr><th>parameter</th><th>in</th><th>type</th><th>meaning</th></tr></thead><tbody>",
    );
    for parameter in parameters {
        write!(
            html,
            "<tr><td><code>{}</code></td><td>{}</td><td>{}</td><td>{}</td></tr>",
            Text(parameter["name"].as_str().unwrap_or_default()),
            Text(parameter["in"].as_str().unwrap_or_default()),
            Line(&parameter["schema"], 0),
            Prose(parameter["description"].as_str().unwrap_or_default()),
        )?;
    }
    html.push_str("</tbody></table>");
    Ok(())
}

fn one_schema(html: &mut String, name: &str, schema: &Value) -> fmt::Result {
    write!(
        html,
        "<h3 id=\"schema-{0}\">{0}</h3><p>{1}</p>",
        Text(name),
        Prose(schema["description"].as_str().unwrap_or_default())
    )?;
    let Some(properties) = schema["properties"].as_object() else {
        return write!(html, "<p>{}</p>", Line(schema, 0));
    };
    html.push_str(
        "<table><thead><tr><th>field</th><th>type</th><th>meaning</th></tr></thead><tbody>",
    );
    for (field, schema) in properties {
        write!(
            html,
            "<tr><td><code>{}</code></td><td>{}</td><td>{}</td></tr>",
            Text(field),
            Line(schema, 0),
            Prose(schema["description"].as_str().unwrap_or_default())
        )?;
    }
    html.push_str("</tbody></table>");
    for example in schema["examples"].as_array().into_iter().flatten() {
        let example = serde_json::to_string_pretty(example).unwrap_or_default();
        write!(html, "<pre tabindex=\"0\">{}</pre>", Text(&example))?;
    }
    Ok(())
}

fn members(object: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let object: Option<&Map<String, Value>> = object.as_object();
    object
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.as_str(), value))
}

/// A schema in one line: its type, its bounds, and a link if it has a name.
struct Line<'a>(&'a Value, usize);

impl fmt::Display for Line<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(schema, depth) = *self;
        if depth > LINE_DEPTH_MAX {
            return out.write_str("…");
        }
        if let Some(name) = schema["$ref"]
            .as_str()
            .and_then(|link| link.rsplit('/').next())
        {
            return write!(out, "<a href=\"#schema-{0}\">{0}</a>", Text(name));
        }
        if let Some(choices) = schema["oneOf"].as_array() {
            for (number, choice) in choices.iter().enumerate() {
                out.write_str(if number == 0 { "" } else { " or " })?;
                write!(out, "{}", Line(choice, depth + 1))?;
            }
            return Ok(());
        }
        let values = schema["enum"].as_array();
        if let Some(values) = values.or(schema[OPEN_ENUM].as_array()) {
            for (number, value) in values.iter().enumerate() {
                out.write_str(if number == 0 { "" } else { ", " })?;
                write!(out, "<code>{}</code>", Text(&value.to_string()))?;
            }
            return Ok(());
        }
        match &schema["type"] {
            Value::String(kind) if kind == "array" => {
                write!(out, "array of {}", Line(&schema["items"], depth + 1))?;
            }
            Value::String(kind) => write!(out, "{}", Text(kind))?,
            Value::Array(kinds) => {
                let kinds: Vec<&str> = kinds.iter().filter_map(Value::as_str).collect();
                write!(out, "{}", Text(&kinds.join(" or ")))?;
            }
            _ => out.write_str("any JSON")?,
        }
        for (name, words) in [
            ("format", "as"),
            ("minimum", "from"),
            ("maximum", "to"),
            ("minLength", "from length"),
            ("maxLength", "to length"),
            ("maxProperties", "to members"),
            ("default", "default"),
        ] {
            match &schema[name] {
                Value::Null => {}
                Value::String(text) => write!(out, ", {words} {}", Text(text))?,
                bound => write!(out, ", {words} {}", Text(&bound.to_string()))?,
            }
        }
        Ok(())
    }
}

/// Text without markup, in which backticks delimit code.
struct Prose<'a>(&'a str);

impl fmt::Display for Prose<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, part) in self.0.split('`').enumerate() {
            if number % 2 == 0 {
                write!(out, "{}", Text(part))?;
            } else {
                write!(out, "<code>{}</code>", Text(part))?;
            }
        }
        Ok(())
    }
}

/// Text without markup.
struct Text<'a>(&'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => out.write_str("&amp;")?,
                '<' => out.write_str("&lt;")?,
                '>' => out.write_str("&gt;")?,
                '"' => out.write_str("&quot;")?,
                '\'' => out.write_str("&#39;")?,
                other => out.write_char(other)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_the_description_is_escaped_everywhere() {
        let evil = "<script>alert('\"&')</script>";
        let html = page(&serde_json::json!({
            "info": { "title": evil, "description": evil, "version": evil },
            "tags": [{ "name": "t" }],
            "paths": { evil: { "get": {
                "tags": ["t"], "operationId": evil, "summary": evil, "description": evil,
                "parameters": [{ "name": evil, "in": evil, "description": evil, "schema": { "enum": [evil] } }],
                "requestBody": { "content": { evil: { "schema": { "type": evil, "default": evil } } } },
                "x-key-scopes": [evil],
                "responses": { evil: { "description": evil,
                    "headers": { evil: { "description": evil }, format!("{evil}2"): { "$ref": evil } },
                    "content": { "application/json": { "schema": { "$ref": evil } } } } },
            } } },
            "components": { "headers": { evil: { "description": evil } }, "schemas": { evil: { "description": evil, "examples": [evil],
                "properties": { evil: { "type": evil, "description": evil } } } } },
        }));
        assert!(!html.contains("<script"), "{html}");
        assert!(html.matches("&lt;script&gt;").count() > 15);
        assert!(!html.contains("alert('"));
    }
}
