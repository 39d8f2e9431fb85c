//! Refuses query parameters on the routes that know none. Those that know some refuse the others themselves
//! (`Query::finish`).

use axum::extract::Request;
use axum::http::Method;
use utoipa::openapi::path::{Operation, ParameterIn, PathItem};
use utoipa::openapi::{OpenApi, RefOr};

use crate::error::Result;
use crate::http::page::refuse_parameters;

/// The socket is in no OpenAPI document.
const SOCKET_PATH: &str = "/live";

/// The routes without query parameters: their methods and the segments of their paths.
pub struct BareRoutes(Vec<(Method, Vec<String>)>);

impl BareRoutes {
    /// Those of the document, so that a new route cannot be forgotten here.
    pub fn of(document: &OpenApi) -> Self {
        let operations = document.paths.paths.iter().flat_map(|(path, item)| {
            let bare = operations(item).filter(|(_, operation)| !has_parameters(operation));
            bare.map(|(method, _)| (method, segments(path)))
        });
        Self(operations.chain([(Method::GET, segments(SOCKET_PATH))]).collect())
    }

    /// # Errors
    /// `validation_failed`, when the request has parameters and its route knows none.
    pub fn check(&self, request: &Request) -> Result<()> {
        match request.uri().query().filter(|query| !query.is_empty()) {
            Some(query) if self.has(request.method(), request.uri().path()) => refuse_parameters(query),
            _ => Ok(()),
        }
    }

    fn has(&self, method: &Method, path: &str) -> bool {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let is_path = |template: &Vec<String>| {
            let mut path = path.split('/');
            let same = template.iter().all(|expected| {
                path.next().is_some_and(|found| expected.starts_with('{') || expected == found)
            });
            same && path.next().is_none()
        };
        self.0.iter().any(|(of, template)| of == method && is_path(template))
    }
}

fn segments(path: &str) -> Vec<String> {
    path.split('/').map(str::to_owned).collect()
}

fn has_parameters(operation: &Operation) -> bool {
    operation.parameters.iter().flatten().any(|parameter| match parameter {
        RefOr::T(parameter) => parameter.parameter_in == ParameterIn::Query,
        RefOr::Ref(_) => false,
    })
}

fn operations(item: &PathItem) -> impl Iterator<Item = (Method, &Operation)> {
    let operations = [
        (Method::GET, &item.get),
        (Method::POST, &item.post),
        (Method::PUT, &item.put),
        (Method::PATCH, &item.patch),
        (Method::DELETE, &item.delete),
    ];
    operations.into_iter().filter_map(|(method, operation)| Some((method, operation.as_ref()?)))
}
