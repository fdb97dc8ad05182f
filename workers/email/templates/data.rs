use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use longshore::job::json::pointer_step;
use minijinja::Value;
use minijinja::value::{Enumerator, Object, ObjectRepr};

/// Where it is in the payload.
const ROOT: &str = "/data";

/// A payload's `data` as a template sees it. It takes note of what is asked for, because the
/// engine tells where in a template something was missing, but not what.
#[derive(Debug)]
pub(super) struct Data {
    root: Value,
    notes: Arc<Notes>,
}

/// What was asked for last, and what is stood in for.
#[derive(Debug, Default)]
struct Notes {
    last: Mutex<Option<String>>,
    absent: Mutex<BTreeSet<String>>,
    /// Names of the engine's own functions, for which it asks the data first.
    globals: BTreeSet<String>,
}

impl Data {
    pub(super) fn new(
        data: &serde_json::Map<String, serde_json::Value>,
        globals: BTreeSet<String>,
    ) -> Self {
        let notes = Arc::new(Notes {
            globals,
            ..Notes::default()
        });
        Self {
            root: map(data, ROOT.to_owned(), &notes),
            notes,
        }
    }

    /// As a template's context.
    pub(super) fn context(&self) -> Value {
        *lock(&self.notes.last) = None;
        self.root.clone()
    }

    /// What was looked up last, as a JSON pointer into the payload.
    pub(super) fn last(&self) -> Option<String> {
        lock(&self.notes.last).clone()
    }

    /// From now on this is taken for something that says nothing, so that what else is missing
    /// can be found out. False if it already was.
    pub(super) fn stand_in_for(&self, pointer: &str) -> bool {
        lock(&self.notes.absent).insert(pointer.to_owned())
    }
}

impl Notes {
    fn ask(&self, pointer: String, found: Option<Value>) -> Option<Value> {
        let absent = found.is_none() && lock(&self.absent).contains(&pointer);
        *lock(&self.last) = Some(pointer);
        if absent {
            return Some(Value::from_object(Nothing));
        }
        found
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct Fields {
    values: BTreeMap<String, Value>,
    pointer: String,
    notes: Arc<Notes>,
}

impl Object for Fields {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let name = key.as_str()?;
        let found = self.values.get(name).cloned();
        let function = self.pointer == ROOT && self.notes.globals.contains(name);
        if found.is_none() && function {
            return None;
        }
        let pointer = format!("{}{}", self.pointer, pointer_step(name));
        self.notes.ask(pointer, found)
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.values.keys().map(Value::from).collect())
    }
}

#[derive(Debug)]
struct Items {
    values: Vec<Value>,
    pointer: String,
    notes: Arc<Notes>,
}

impl Object for Items {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let index = key.as_usize()?;
        let pointer = format!("{}/{index}", self.pointer);
        let given = self.values.get(index).filter(|item| !item.is_undefined());
        self.notes.ask(pointer, given.cloned())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        // By value: a loop looks ahead, and what was looked up last would not be what is printed.
        Enumerator::Values(self.values.clone())
    }
}

/// Stands in for what is missing.
#[derive(Debug)]
struct Nothing;

impl Object for Nothing {
    fn get_value(self: &Arc<Self>, _: &Value) -> Option<Value> {
        Some(Value::from_object(Self))
    }

    fn render(self: &Arc<Self>, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

fn map(
    data: &serde_json::Map<String, serde_json::Value>,
    pointer: String,
    notes: &Arc<Notes>,
) -> Value {
    let below = |(name, value): (&String, &serde_json::Value)| {
        let pointer = format!("{pointer}{}", pointer_step(name));
        (name.clone(), any(value, pointer, notes))
    };
    // What is null is not there: nobody wants to read `Dear None`.
    let given = data.iter().filter(|(_, value)| !value.is_null());
    Value::from_object(Fields {
        values: given.map(below).collect(),
        notes: notes.clone(),
        pointer,
    })
}

fn any(value: &serde_json::Value, pointer: String, notes: &Arc<Notes>) -> Value {
    match value {
        serde_json::Value::Object(fields) => map(fields, pointer, notes),
        serde_json::Value::Array(items) => {
            let below = |(index, item)| any(item, format!("{pointer}/{index}"), notes);
            Value::from_object(Items {
                values: items.iter().enumerate().map(below).collect(),
                notes: notes.clone(),
                pointer,
            })
        }
        // As in a map: it is not there. Its place is, so that the others keep theirs.
        serde_json::Value::Null => Value::UNDEFINED,
        serde_json::Value::Bool(yes) => Value::from(*yes),
        serde_json::Value::String(text) => Value::from(text.as_str()),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(whole), _) => Value::from(whole),
            (None, Some(whole)) => Value::from(whole),
            (None, None) => Value::from(number.as_f64()),
        },
    }
}
