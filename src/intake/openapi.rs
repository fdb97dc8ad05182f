//! The API's description, made of the declared calls and the kinds there are.

use std::collections::BTreeMap;

use bytes::Bytes;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::declaration::{Answer, Declaration, Parameter, Place};
use super::payloads;
use super::problems::{self, ProblemKind};
use crate::admin::FieldCode;
use crate::worker::Registry;

const ABOUT: &str = "Submit background jobs and see what becomes of them.\n\n\
    Errors are problem details (RFC 9457): `code` is stable, `errors` names each wrong field by \
    its JSON pointer (RFC 6901). Members that a body's schema does not have, and parameters that \
    a call does not have, are refused. Times are RFC 3339.";

/// The description, as it is sent: to those who need a key, and while nobody does.
#[derive(Debug, Clone)]
pub struct Description {
    keyed: Bytes,
    open: Bytes,
}

impl Description {
    /// Describes calls that take jobs of these kinds.
    #[must_use]
    pub fn of(registry: &Registry) -> Self {
        let mut declarations = super::declarations();
        declarations.retain(|declaration| !declaration.hidden);
        let keyed = document(&declarations, registry);
        let mut open = keyed.clone();
        without_security(&mut open);
        Self {
            keyed: keyed.to_string().into(),
            open: open.to_string().into(),
        }
    }

    pub(super) fn bytes(&self, open: bool) -> Bytes {
        if open { &self.open } else { &self.keyed }.clone()
    }
}

fn without_security(document: &mut Value) {
    let paths = document["paths"].as_object_mut();
    let operations = paths
        .into_iter()
        .flat_map(Map::values_mut)
        .filter_map(Value::as_object_mut)
        .flat_map(Map::values_mut);
    for operation in operations {
        if let Some(members) = operation.as_object_mut() {
            members.remove("security");
        }
    }
}

/// OpenAPI 3.1.
fn document(declarations: &[Declaration], registry: &Registry) -> Value {
    let mut writer = Writer::new();
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for declaration in declarations {
        let operation = writer.operation(declaration);
        let method = declaration.method.as_str().to_ascii_lowercase();
        let path = paths.entry(declaration.path).or_default();
        path.insert(method, operation);
    }
    let mut schemas = writer.schemas();
    schemas.insert("Problem".to_owned(), problem_schema());
    payloads::describe(registry, &mut schemas);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Longshore",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"key": {
                "type": "http",
                "scheme": "bearer",
                "description": "An API key. An intake without keys answers on loopback only, to everybody.",
            }},
        },
    })
}

/// Two generators: what may be left out of a body is always there in an answer.
struct Writer {
    given: SchemaGenerator,
    answered: SchemaGenerator,
}

impl Writer {
    fn new() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = "/components/schemas".into();
                settings.meta_schema = None;
            })
        };
        Self {
            given: settings().for_deserialize().into_generator(),
            answered: settings().for_serialize().into_generator(),
        }
    }

    fn schemas(mut self) -> Map<String, Value> {
        let mut schemas = self.answered.take_definitions(true);
        schemas.extend(self.given.take_definitions(true));
        schemas
    }

    fn operation(&mut self, declared: &Declaration) -> Value {
        let mut operation = json!({
            "operationId": declared.id,
            "summary": declared.summary,
            "tags": [group(declared.path)],
            "responses": self.responses(declared),
        });
        if !declared.description.is_empty() {
            operation["description"] = declared.description.into();
        }
        if !declared.parameters.is_empty() {
            let parameters: Vec<Value> = declared
                .parameters
                .iter()
                .map(|parameter| self.parameter(parameter))
                .collect();
            operation["parameters"] = parameters.into();
        }
        if !declared.bodies.is_empty() {
            let mut content = Map::new();
            for body in &declared.bodies {
                let schema = (body.schema)(&mut self.given);
                content.insert(body.media.to_owned(), json!({"schema": schema}));
            }
            operation["requestBody"] =
                json!({"required": !declared.body_is_optional, "content": content});
        }
        if let Some(scope) = declared.scope {
            operation["security"] = json!([{"key": [scope.as_str()]}]);
        }
        operation
    }

    fn parameter(&mut self, parameter: &Parameter) -> Value {
        let place = match parameter.place {
            Place::Path => "path",
            Place::Query => "query",
            Place::Header => "header",
        };
        let mut schema = Value::from((parameter.schema)(&mut self.given));
        if parameter.many {
            schema = json!({"type": "array", "items": schema});
        }
        json!({
            "name": parameter.name,
            "in": place,
            "required": parameter.place == Place::Path,
            "description": parameter.meaning,
            "schema": schema,
        })
    }

    fn responses(&mut self, declared: &Declaration) -> Value {
        let mut responses = Map::new();
        for answer in &declared.answers {
            responses.insert(answer.status.as_str().to_owned(), self.answer(answer));
        }
        let mut by_status: BTreeMap<u16, Vec<&ProblemKind>> = BTreeMap::new();
        for kind in declared.all_problems() {
            by_status
                .entry(kind.status.as_u16())
                .or_default()
                .push(kind);
        }
        for (status, kinds) in by_status {
            let status = status.to_string();
            let problem = problem_response(&kinds);
            match responses.get_mut(&status) {
                // An answer that says what is wrong in a form of its own: `/readyz`.
                Some(own) => {
                    let media = "application/problem+json";
                    own["content"][media] = problem["content"][media].clone();
                }
                None => {
                    responses.insert(status, problem);
                }
            }
        }
        responses.into()
    }

    fn answer(&mut self, answer: &Answer) -> Value {
        let schema = (answer.content.schema)(&mut self.answered);
        let mut content = Map::new();
        content.insert(answer.content.media.to_owned(), json!({"schema": schema}));
        let mut response = json!({"description": answer.meaning, "content": content});
        for header in &answer.headers {
            let schema = (header.schema)(&mut self.answered);
            response["headers"][header.name] =
                json!({"description": header.meaning, "schema": schema});
        }
        response
    }
}

/// Where an operation is listed: the path's first word.
fn group(path: &str) -> &str {
    let rest = path.strip_prefix("/v1/").unwrap_or("about");
    rest.split('/').next().unwrap_or(rest)
}

fn problem_response(kinds: &[&ProblemKind]) -> Value {
    let lines: Vec<String> = kinds
        .iter()
        .map(|kind| format!("`{}`: {}", kind.code, kind.meaning))
        .collect();
    let codes: Vec<&str> = kinds.iter().map(|kind| kind.code).collect();
    let status = kinds.first().map(|kind| kind.status.as_u16());
    let own = json!({"properties": {"status": {"const": status}, "code": {"enum": codes}}});
    let schema = json!({"allOf": [{"$ref": "#/components/schemas/Problem"}, own]});
    let mut response = json!({
        "description": lines.join("\n\n"),
        "content": {"application/problem+json": {"schema": schema}},
    });
    if kinds.iter().any(|kind| kind.tells_when()) {
        response["headers"]["Retry-After"] = json!({
            "description": "Seconds to wait before the next try.",
            "schema": {"type": "integer", "minimum": 0},
        });
    }
    response
}

fn problem_schema() -> Value {
    let codes: Vec<&str> = problems::ALL.iter().map(|kind| kind.code).collect();
    json!({
        "type": "object",
        "description": "Problem details (RFC 9457).",
        "required": ["type", "title", "status", "code", "detail"],
        "properties": {
            "type": {"type": "string", "format": "uri", "description": "`urn:longshore:problem:` and the code."},
            "title": {"type": "string", "description": "The same for every problem of that code."},
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "code": {"type": "string", "enum": codes, "description": "Stable, for programs."},
            "detail": {"type": "string", "description": "What is wrong here, and what to do."},
            "line": {"type": "integer", "minimum": 1, "description": "Where the body stops being JSON."},
            "column": {"type": "integer", "minimum": 1, "description": "In characters."},
            "id": {"type": "string", "format": "uuid", "description": "The job that it is about."},
            "scope": {"type": "string", "description": "The scope that the key lacks."},
            "state": {"type": "string", "description": "Where what it is about stands."},
            "parameter": {"type": "string", "description": "The first parameter of the query that is wrong."},
            "errors": {
                "type": "array",
                "description": "Every wrong field or parameter.",
                "items": {
                    "type": "object",
                    "required": ["code", "message"],
                    "properties": {
                        "code": {"enum": FieldCode::ALL, "description": "Stable, for programs."},
                        "pointer": {"type": "string", "description": "JSON pointer (RFC 6901) into the body."},
                        "parameter": {"type": "string", "description": "Name of a parameter of the query."},
                        "message": {"type": "string", "description": "What is wrong, and what was expected."},
                    },
                },
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every member that some problem carries, found where it is added.
    #[test]
    fn every_member_of_a_problem_is_described() {
        let known = problem_schema()["properties"].clone();
        let here = concat!(env!("CARGO_MANIFEST_DIR"), "/src/intake");
        let mut found = 0;
        for file in std::fs::read_dir(here).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_none_or(|end| end != "rs") {
                continue;
            }
            let mut text = std::fs::read_to_string(path).unwrap();
            text.retain(|char| !char.is_whitespace());
            // Not written out, or it would find itself.
            for member in text.split(&format!(".{}(\"", "with")).skip(1) {
                let member = member.split('"').next().unwrap();
                assert!(known.get(member).is_some(), "{member}");
                found += 1;
            }
        }
        assert!(found > 5, "{found}");
    }

    #[test]
    fn a_type_is_described_once_or_the_same_way() {
        let mut writer = Writer::new();
        for declaration in super::super::declarations() {
            writer.operation(&declaration);
        }
        let given = writer.given.take_definitions(true);
        let answered = writer.answered.take_definitions(true);
        for (name, schema) in given {
            let other = answered.get(&name).unwrap_or(&schema);
            assert_eq!(
                *other, schema,
                "{name}: give the type of a body a name of its own"
            );
        }
    }

    #[test]
    fn every_call_says_what_it_does_and_every_reference_leads_somewhere() {
        let declarations = super::super::declarations();
        let document = document(&declarations, &Registry::default());
        let mut ids = std::collections::BTreeSet::new();
        for declaration in &declarations {
            assert!(ids.insert(declaration.id), "{}", declaration.id);
            assert!(!declaration.summary.is_empty(), "{}", declaration.id);
            assert!(!declaration.answers.is_empty(), "{}", declaration.id);
            for name in declaration.path.split('{').skip(1) {
                let name = name.split('}').next().unwrap();
                let known = |p: &Parameter| p.place == Place::Path && p.name == name;
                assert!(
                    declaration.parameters.iter().any(known),
                    "{}",
                    declaration.id
                );
            }
        }
        let text = document.to_string();
        for target in text.split("\"$ref\":\"#").skip(1) {
            let pointer = target.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
    }
}
