use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::IntoResponse;
use schemars::json_schema;

use super::Intake;
use super::call::{Call, CallBuilder};
use super::declaration::{Answer, Content};

/// Nothing from elsewhere, and nothing written into the page. Swagger UI's icons are `data:`
/// images.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
                      img-src 'self' data:; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

const PAGE: &[u8] = include_bytes!("docs/index.html");
const SCRIPT: &[u8] = include_bytes!("docs/docs.js");
const VIEWER: &[u8] = include_bytes!("docs/swagger-ui-bundle.js");
const STYLE: &[u8] = include_bytes!("docs/swagger-ui.css");

pub(super) fn calls() -> Vec<Call<Intake>> {
    vec![
        Call::get("openapi", "/openapi.json")
            .summary("This description, as OpenAPI 3.1")
            .answers(Answer::of(
                StatusCode::OK,
                Content::of("application/json", |_| json_schema!({"type": "object"})),
                "The description.",
            ))
            .handler(description),
        page("docs", "/docs", "text/html")
            .summary("This description, for people")
            .handler(async || file("text/html; charset=utf-8", PAGE)),
        page("docs_script", "/docs/docs.js", "text/javascript")
            .hidden()
            .handler(async || file("text/javascript; charset=utf-8", SCRIPT)),
        page(
            "docs_viewer",
            "/docs/swagger-ui-bundle.js",
            "text/javascript",
        )
        .hidden()
        .handler(async || file("text/javascript; charset=utf-8", VIEWER)),
        page("docs_style", "/docs/swagger-ui.css", "text/css")
            .hidden()
            .handler(async || file("text/css; charset=utf-8", STYLE)),
    ]
}

fn page(id: &'static str, path: &'static str, media: &'static str) -> CallBuilder {
    let content = Content::of(media, |_| json_schema!({"type": "string"}));
    Call::get(id, path)
        .summary("A part of `/docs`")
        .answers(Answer::of(StatusCode::OK, content, "The file."))
}

fn file(media: &'static str, content: &'static [u8]) -> impl IntoResponse {
    let headers: [(HeaderName, &str); 4] = [
        (header::CONTENT_TYPE, media),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // A new program brings new files under the same names.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, content)
}

async fn description(State(intake): State<Intake>) -> impl IntoResponse {
    let json = [(header::CONTENT_TYPE, "application/json")];
    (json, intake.description.bytes(intake.gate.is_open()))
}
