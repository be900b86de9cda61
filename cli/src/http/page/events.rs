//! Server-sent events: the changed sections of a view, once a second, for each connected viewer.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::{Map, Value};

use super::view::{Kind, Parameters, View};
use super::{Section, Site};

/// Interval between two updates.
const EVERY: Duration = Duration::from_secs(1);

/// A connected browser and the sections that it has.
struct Viewer {
    site: Arc<Site>,
    view: View,
    /// Hash of each section that the viewer has
    shown: HashMap<&'static str, u64>,
    is_first: bool,
}

/// Sends the sections of a view that change. The parameters are the page's own, and `view` its path.
pub(crate) async fn events(
    State(site): State<Arc<Site>>,
    Query(parameters): Query<Parameters>,
) -> Response {
    let Some(kind) = parameters.get("view").and_then(|path| Kind::at(path)) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let Ok(_) = site
        .viewers
        .try_acquire()
        .map(tokio::sync::SemaphorePermit::forget)
    else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many viewers\n").into_response();
    };
    let viewer = Viewer {
        view: View::new(kind, &parameters),
        site,
        shown: HashMap::new(),
        is_first: true,
    };
    let events = stream::unfold(viewer, |mut viewer| async move {
        let event = viewer.next().await?;
        Some((Ok::<_, Infallible>(event), viewer))
    });
    let mut response = Sse::new(events).into_response();
    // A proxy is not to hold events back.
    let headers = response.headers_mut();
    headers.insert("x-accel-buffering", header::HeaderValue::from_static("no"));
    headers.insert(
        header::CACHE_CONTROL,
        header::HeaderValue::from_static("no-store"),
    );
    response
}

impl Viewer {
    /// Waits for the next update and returns the sections that changed since the last one.
    async fn next(&mut self) -> Option<Event> {
        if !std::mem::take(&mut self.is_first) {
            tokio::time::sleep(EVERY).await;
        }
        let (site, view) = (Arc::clone(&self.site), self.view.clone());
        let looked = tokio::task::spawn_blocking(move || site.sections(&view, Duration::ZERO));
        let (_, sections) = looked.await.ok()?;
        let mut changed = Map::new();
        for section in sections.iter() {
            let is_new = self.has_changed(section);
            if is_new {
                changed.insert(section.id.to_owned(), html(section));
            }
            for part in &section.parts {
                if self.has_changed(part) && !is_new {
                    changed.insert(part.id.to_owned(), html(part));
                }
            }
        }
        Some(Event::default().data(Value::Object(changed).to_string()))
    }

    fn has_changed(&mut self, section: &Section) -> bool {
        self.shown.insert(section.id, section.hash) != Some(section.hash)
    }
}

fn html(section: &Section) -> Value {
    Value::String(section.markup.0.clone())
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.site.viewers.add_permits(1);
    }
}
