use axum::http::{Method, StatusCode};
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::problems::{self, ProblemKind};
use crate::job::Scope;

/// Makes a schema: [`of`] a type, or a closure with one written out.
pub(super) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// The schema of a type.
pub(super) fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// All that is said of a call.
#[derive(Debug)]
pub(super) struct Declaration {
    pub(super) method: Method,
    /// As axum writes it, which is as OpenAPI does: `/v1/jobs/{id}`.
    pub(super) path: &'static str,
    /// OpenAPI's `operationId`.
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    /// Markdown.
    pub(super) description: &'static str,
    /// What a key must have; `None`: the call is open to everybody.
    pub(super) scope: Option<Scope>,
    pub(super) parameters: Vec<Parameter>,
    /// The same body in any of these forms; empty: the call takes none.
    pub(super) bodies: Vec<Content>,
    /// The body may be missing.
    pub(super) body_is_optional: bool,
    pub(super) answers: Vec<Answer>,
    /// Not in the description: a part of another call's answer.
    pub(super) hidden: bool,
    /// Those of this call in particular; every call has more.
    pub(super) problems: Vec<&'static ProblemKind>,
}

impl Declaration {
    /// Every problem that the call may answer with.
    pub(super) fn all_problems(&self) -> Vec<&'static ProblemKind> {
        let mut all = self.problems.clone();
        all.extend([
            problems::INVALID_PARAMETER,
            problems::INTERNAL,
            problems::TOO_MANY_CONNECTIONS,
        ]);
        if self.scope.is_some() {
            all.extend([
                problems::UNAUTHENTICATED,
                problems::FORBIDDEN,
                problems::FOREIGN_ORIGIN,
                problems::RATE_LIMITED,
                problems::STORE_UNAVAILABLE,
                problems::STARTING,
            ]);
        }
        if self
            .parameters
            .iter()
            .any(|parameter| parameter.place == Place::Path)
        {
            // An empty parameter makes another path.
            all.push(problems::NO_SUCH_PATH);
        }
        if !self.bodies.is_empty() {
            all.extend([
                problems::UNREADABLE_BODY,
                problems::BODY_TIMEOUT,
                problems::MALFORMED_JSON,
                problems::BODY_TOO_LARGE,
                problems::UNSUPPORTED_MEDIA_TYPE,
            ]);
        }
        all
    }

    /// Names of the parameters of the query.
    pub(super) fn query(&self) -> impl Iterator<Item = &'static str> {
        self.parameters
            .iter()
            .filter(|parameter| parameter.place == Place::Query)
            .map(|parameter| parameter.name)
    }
}

/// Where a parameter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Path,
    Query,
    Header,
}

/// A parameter of a call.
#[derive(Debug)]
pub(super) struct Parameter {
    pub(super) place: Place,
    pub(super) name: &'static str,
    pub(super) schema: SchemaOf,
    pub(super) meaning: &'static str,
    /// May be given more than once.
    pub(super) many: bool,
}

impl Parameter {
    pub(super) fn path(name: &'static str, schema: SchemaOf, meaning: &'static str) -> Self {
        Self::new(Place::Path, name, schema, meaning)
    }

    pub(super) fn query(name: &'static str, schema: SchemaOf, meaning: &'static str) -> Self {
        Self::new(Place::Query, name, schema, meaning)
    }

    pub(super) fn header(name: &'static str, schema: SchemaOf, meaning: &'static str) -> Self {
        Self::new(Place::Header, name, schema, meaning)
    }

    /// The same, to be given any number of times; `schema` is that of one of them.
    pub(super) fn many(mut self) -> Self {
        self.many = true;
        self
    }

    const fn new(
        place: Place,
        name: &'static str,
        schema: SchemaOf,
        meaning: &'static str,
    ) -> Self {
        Self {
            place,
            name,
            schema,
            meaning,
            many: false,
        }
    }
}

/// A body of one media type.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) media: &'static str,
    pub(super) schema: SchemaOf,
}

impl Content {
    /// `application/json`.
    pub(super) fn json<T: JsonSchema>() -> Self {
        Self::of("application/json", of::<T>)
    }

    /// Another one.
    pub(super) const fn of(media: &'static str, schema: SchemaOf) -> Self {
        Self { media, schema }
    }
}

/// An answer that is no problem.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) meaning: &'static str,
    pub(super) content: Content,
    pub(super) headers: Vec<Parameter>,
}

impl Answer {
    /// JSON of that type.
    pub(super) fn json<T: JsonSchema>(status: StatusCode, meaning: &'static str) -> Self {
        Self::of(status, Content::json::<T>(), meaning)
    }

    pub(super) const fn of(status: StatusCode, content: Content, meaning: &'static str) -> Self {
        Self {
            status,
            meaning,
            content,
            headers: Vec::new(),
        }
    }

    /// A header that it may carry.
    pub(super) fn header(
        mut self,
        name: &'static str,
        schema: SchemaOf,
        meaning: &'static str,
    ) -> Self {
        self.headers.push(Parameter::header(name, schema, meaning));
        self
    }
}
