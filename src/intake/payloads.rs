//! What the kinds add to the API's description: a schema for each payload, and for a submission
//! of each kind.

use serde_json::{Map, Value, json};

use crate::worker::{KindEntry, Registry};

/// The schemas whose `kind` and `payload` depend on each other.
const SUBMISSIONS: [&str; 2] = ["Submission", "BatchItem"];

/// Adds the payloads' schemas, and replaces those of submissions by one for each kind.
pub(super) fn describe(registry: &Registry, schemas: &mut Map<String, Value>) {
    for (kind, entry) in registry.iter() {
        add_payload(kind.as_str(), entry, schemas);
    }
    for general in SUBMISSIONS {
        let Some(schema) = schemas.get(general).cloned() else {
            continue;
        };
        let mut forms = Vec::new();
        let mut mapping = Map::new();
        for (kind, entry) in registry.iter() {
            let name = format!("{general}.{kind}");
            let path = format!("#/components/schemas/{name}");
            forms.push(json!({"$ref": path}));
            mapping.insert(kind.to_string(), path.into());
            schemas.insert(name, submission(&schema, kind.as_str(), entry));
        }
        if !forms.is_empty() {
            let discriminator = json!({"propertyName": "kind", "mapping": mapping});
            let of_any_kind = json!({"oneOf": forms, "discriminator": discriminator});
            schemas.insert(general.to_owned(), of_any_kind);
        }
    }
}

fn submission(general: &Value, kind: &str, entry: &KindEntry) -> Value {
    let mut schema = general.clone();
    schema["properties"]["kind"] = json!({"type": "string", "const": kind});
    let payload = format!("#/components/schemas/payload.{kind}");
    schema["properties"]["payload"] = json!({"$ref": payload});
    if let Some(example) = entry.example() {
        schema["examples"] = json!([{"kind": kind, "payload": example}]);
    }
    schema
}

/// A kind's schema stands alone; its definitions become components named after the kind.
fn add_payload(kind: &str, entry: &KindEntry, schemas: &mut Map<String, Value>) {
    let name = format!("payload.{kind}");
    let mut schema = entry.schema().clone();
    let Some(members) = schema.as_object_mut() else {
        schemas.insert(name, schema);
        return;
    };
    members.remove("$schema");
    let definitions = members.remove("$defs");
    if let Some(Value::Object(definitions)) = definitions {
        for (inner, mut definition) in definitions {
            point_to_components(&mut definition, &name);
            schemas.insert(format!("{name}.{inner}"), definition);
        }
    }
    if let Some(example) = entry.example() {
        schema["examples"] = json!([example]);
    }
    point_to_components(&mut schema, &name);
    schemas.insert(name, schema);
}

fn point_to_components(schema: &mut Value, name: &str) {
    match schema {
        Value::Object(members) => {
            for (key, value) in members {
                match value {
                    Value::String(target) if key == "$ref" => {
                        if let Some(inner) = target.strip_prefix("#/$defs/") {
                            *target = format!("#/components/schemas/{name}.{inner}");
                        } else if target == "#" {
                            *target = format!("#/components/schemas/{name}");
                        }
                    }
                    other => point_to_components(other, name),
                }
            }
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| point_to_components(item, name)),
        _ => {}
    }
}
