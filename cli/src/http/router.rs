//! The paths that are served.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use super::guard::{Names, guard, only_own};
use super::metrics;
use super::page::{self, Site};
use crate::service::Service;

/// Longest form that is read, in bytes.
const BODY_LEN_MAX: usize = 4096;
const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
/// The version of the text format that Prometheus asks for.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All paths; those that show rows are for `is_open` or the caller's user to decide.
pub(super) fn router(site: Arc<Site>, names: Names, is_open: bool) -> Router {
    let service = Arc::clone(site.observer().service());
    let views = Router::new();
    let views = page::paths().fold(views, |views, path| views.route(path, get(page::view)));
    let views = views
        .route("/events", get(page::events))
        .route("/sign-in", get(page::sign_in_form).post(page::sign_in))
        .route("/sign-out", post(page::sign_out))
        .route("/act", post(page::act))
        .layer(DefaultBodyLimit::max(BODY_LEN_MAX));
    let views = match is_open {
        true => views,
        false => views.layer(middleware::from_fn(only_own)),
    };
    let page = views
        .route("/metrics", get(show_metrics))
        .route("/page.css", get(page::style))
        .route("/page.js", get(page::script))
        .route("/icon.svg", get(page::icon))
        .with_state(site);
    Router::new()
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .with_state(service)
        .merge(page)
        .layer(middleware::from_fn_with_state(names, guard))
}

/// The process answers: there is nothing that a restart would mend.
async fn alive() -> Response {
    respond(StatusCode::OK, TEXT, "alive\n".to_owned())
}

async fn ready(State(service): State<Arc<Service>>) -> Response {
    let readiness = service.readiness();
    let status = match readiness.ready {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    match serde_json::to_string_pretty(&readiness) {
        Ok(text) => respond(status, JSON, text + "\n"),
        Err(error) => failed(&error),
    }
}

async fn show_metrics(State(site): State<Arc<Site>>) -> Response {
    // The log is asked, which blocks.
    match tokio::task::spawn_blocking(move || metrics::gather(site.observer())).await {
        Ok(text) => respond(StatusCode::OK, METRICS, text),
        Err(error) => failed(&error),
    }
}

fn respond(status: StatusCode, content_type: &'static str, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, content_type)], body).into_response()
}

fn failed(error: &dyn std::error::Error) -> Response {
    respond(
        StatusCode::INTERNAL_SERVER_ERROR,
        TEXT,
        format!("{error}\n"),
    )
}
