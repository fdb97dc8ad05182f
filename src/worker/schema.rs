use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{ValidationError, Validator};
use schemars::Schema;
use serde_json::Value;

use super::Invalid;
use crate::config::closest;
use crate::job::json::pointer_step;

/// Wrong fields that are named in one answer.
const MAX_ERRORS: usize = 50;

/// A kind's JSON Schema, ready to check payloads with. It finds every wrong field, where the
/// type itself stops at the first.
#[derive(Debug)]
pub(super) struct PayloadSchema {
    schema: Value,
    /// None if the schema is not usable; then the type alone decides.
    validator: Option<Validator>,
}

impl PayloadSchema {
    /// Never fetches anything: the crate's resolvers are not compiled in.
    pub(super) fn new(kind: &str, schema: Schema) -> Self {
        let schema = Value::from(schema);
        let validator = jsonschema::draft202012::new(&schema)
            .map_err(|error| tracing::warn!(kind, %error, "the schema of this kind is not usable"))
            .ok();
        Self { schema, validator }
    }

    pub(super) fn value(&self) -> &Value {
        &self.schema
    }

    /// Every wrong field, up to a bound.
    pub(super) fn errors(&self, payload: &Value) -> Vec<Invalid> {
        let Some(validator) = &self.validator else {
            return Vec::new();
        };
        let mut found = Vec::new();
        if validator.is_valid(payload) {
            return found;
        }
        for error in validator.iter_errors(payload) {
            self.tell(&error, &mut found);
            if found.len() >= MAX_ERRORS {
                break;
            }
        }
        found
    }

    fn tell(&self, error: &ValidationError<'_>, found: &mut Vec<Invalid>) {
        let at = error.instance_path().as_str();
        match error.kind() {
            ValidationErrorKind::Required { property } => {
                let name = property.as_str().unwrap_or_default();
                let wanted = self.expected_of(error, name);
                let message = format!("missing{wanted}");
                found.push(Invalid::new(at.to_owned() + &pointer_step(name), message));
            }
            ValidationErrorKind::AdditionalProperties { unexpected }
            | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
                for name in unexpected.iter().take(MAX_ERRORS) {
                    let message = self.unknown(error, name);
                    found.push(Invalid::new(at.to_owned() + &pointer_step(name), message));
                }
            }
            ValidationErrorKind::AnyOf { context }
            | ValidationErrorKind::OneOfNotValid { context } => match nearest(context, at) {
                Some(errors) => errors.iter().for_each(|error| self.tell(error, found)),
                None => found.push(Invalid::new(at, NO_FORM)),
            },
            ValidationErrorKind::Type { kind } => {
                let message = format!(
                    "expected {}, found {}",
                    types(kind),
                    article(type_of(error.instance()))
                );
                found.push(Invalid::new(at, message));
            }
            // Never with the value itself, which may be of any size.
            _ => found.push(Invalid::new(at, error.masked_with("this").to_string())),
        }
    }

    /// The schema of the object that the error is about.
    fn object(&self, error: &ValidationError<'_>) -> Option<&Value> {
        let (parent, _) = error.schema_path().as_str().rsplit_once('/')?;
        self.schema.pointer(parent)
    }

    fn expected_of(&self, error: &ValidationError<'_>, name: &str) -> String {
        let wanted = self
            .object(error)
            .and_then(|object| object.get("properties")?.get(name)?.get("type"));
        match wanted {
            Some(Value::String(name)) => format!("; expected {}", article(name)),
            _ => String::new(),
        }
    }

    fn unknown(&self, error: &ValidationError<'_>, name: &str) -> String {
        let properties = self
            .object(error)
            .and_then(|object| object.get("properties")?.as_object());
        let known: Vec<&str> = properties
            .map(|properties| properties.keys().map(String::as_str).collect())
            .unwrap_or_default();
        match (closest(name, &known), known.as_slice()) {
            (Some(near), _) => format!("unknown field; did you mean `{near}`?"),
            (None, []) => "unknown field; there are none here".to_owned(),
            (None, known) => format!("unknown field; known are {}", known.join(", ")),
        }
    }
}

const NO_FORM: &str = "has none of the forms that are allowed here";

/// The form that was most likely meant: the one whose errors lie inside the value.
fn nearest<'a>(
    forms: &'a [Vec<ValidationError<'static>>],
    at: &str,
) -> Option<&'a [ValidationError<'static>]> {
    let inside = |errors: &&Vec<ValidationError<'static>>| {
        !errors.iter().any(|error| {
            error.instance_path().as_str() == at
                && matches!(
                    error.kind(),
                    ValidationErrorKind::Type { .. }
                        | ValidationErrorKind::Constant { .. }
                        | ValidationErrorKind::Enum { .. }
                )
        })
    };
    let mut likely = forms.iter().filter(inside);
    match (likely.next(), likely.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    }
}

fn types(kind: &TypeKind) -> String {
    match kind {
        TypeKind::Single(name) => article(&name.to_string()),
        TypeKind::Multiple(names) => {
            let names: Vec<String> = names
                .iter()
                .map(|name| article(&name.to_string()))
                .collect();
            names.join(" or ")
        }
    }
}

fn article(name: &str) -> String {
    match name {
        "null" => name.to_owned(),
        _ if name.starts_with(['a', 'i', 'o']) => format!("an {name}"),
        _ => format!("a {name}"),
    }
}

const fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use schemars::JsonSchema;
    use serde_json::json;

    use super::*;

    #[derive(JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its schema is used")]
    struct Order {
        number: u32,
        items: Vec<Item>,
        #[schemars(length(max = 3))]
        note: Option<String>,
        way: Way,
        ship_to: Option<Item>,
        labels: BTreeMap<String, bool>,
    }

    #[derive(JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its schema is used")]
    struct Item {
        sku: String,
    }

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is used")]
    enum Way {
        Land,
        Sea,
    }

    #[test]
    fn every_wrong_field_is_named_with_what_was_expected() {
        let schema = PayloadSchema::new("x", schemars::schema_for!(Order));
        let wrong = schema.errors(&json!({
            "number": -1,
            "items": [{"sku": 5}, {}, {"sku": "a", "skuu": 1}],
            "note": "long",
            "way": "Air",
            "ship_to": {"sku": null},
            "itmes": 5,
        }));
        let mut told: Vec<String> = wrong.iter().map(ToString::to_string).collect();
        told.sort_unstable();
        assert_eq!(
            told,
            [
                "/items/0/sku: expected a string, found a number",
                "/items/1/sku: missing; expected a string",
                "/items/2/skuu: unknown field; did you mean `sku`?",
                "/itmes: unknown field; did you mean `items`?",
                "/labels: missing; expected an object",
                "/note: this is longer than 3 characters",
                "/number: this is less than the minimum of 0",
                "/ship_to/sku: expected a string, found null",
                "/way: this is not one of \"Land\" or \"Sea\"",
            ]
        );
        assert_eq!(schema.errors(&json!(5))[0].pointer, "");
        let many = json!({"items": vec![json!({}); 1000]});
        assert_eq!(schema.errors(&many).len(), MAX_ERRORS);
    }
}
