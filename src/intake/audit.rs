use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use schemars::{JsonSchema, json_schema};
use serde::Serialize;

use super::call::Call;
use super::declaration::{Answer, Parameter, of};
use super::query::Query;
use super::selection::{page, paged};
use super::{Intake, Problem};
use crate::admin::cursor;
use crate::job::Scope;
use crate::store::{AuditEntry, AuditFilter, Deed};

const LIST: &str = "audit";

pub(super) fn calls() -> Vec<Call<Intake>> {
    let text = |_: &mut _| json_schema!({"type": "string", "minLength": 1, "maxLength": 300});
    let list = Call::get("list_audit", "/v1/audit")
        .scope(Scope::Read)
        .summary("Who did what, when: what operators did, newest first")
        .description(
            "Each deed is on record in the transaction in which it was done, and kept for 400 \
             days. `by` is the name of an API key, or `cli:USER@HOST`.",
        )
        .parameter(Parameter::query("by", text, "By this one."))
        .parameter(Parameter::query("deed", of::<Deed>, "Of this sort."));
    vec![
        paged(list)
            .answers(Answer::json::<AuditPage>(StatusCode::OK, "A page."))
            .handler(list_audit),
    ]
}

/// Deeds, newest first, and where the next page begins.
#[derive(Debug, Serialize, JsonSchema)]
struct AuditPage {
    items: Vec<AuditEntry>,
    next_cursor: Option<String>,
}

async fn list_audit(
    State(intake): State<Intake>,
    mut query: Query,
) -> Result<Json<AuditPage>, Problem> {
    let filter = AuditFilter {
        by: query.one("by"),
        deed: query.one("deed"),
    };
    let fits = |by: &String| (1..=300).contains(&by.chars().count()) && !by.contains('\0');
    if !filter.by.as_ref().is_none_or(fits) {
        query.refuse("by", "must be 1 to 300 characters without NUL");
    }
    let asked = page(&mut query, LIST, &filter);
    query.finish()?;
    let entries = intake.store.audit(&filter, asked.limit + 1, asked.before);
    let mut items = entries.await?;
    let full = items.len() > asked.limit as usize;
    items.truncate(asked.limit as usize);
    let last = items.last().filter(|_| full);
    let next_cursor = last.map(|entry| cursor(LIST, &filter, entry.id));
    Ok(Json(AuditPage { items, next_cursor }))
}
