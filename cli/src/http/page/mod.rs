//! The page: HTML rendered from snapshots that all viewers share, updated by server-sent events.
//!
//! **Invariant:** every text goes through maud's escaping; nothing here is marked as escaped already.

mod act;
mod assets;
mod chart;
mod config;
mod events;
mod files;
mod groups;
mod layout;
mod letters;
mod log;
mod overview;
mod streams;
mod view;

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bekk_stream::is_deceptive;
use maud::Markup;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

pub(super) use act::{act, sign_in, sign_in_form, sign_out};
pub(super) use assets::{icon, script, style};
pub(super) use events::events;

use crate::http::actions::Actions;
use crate::observe::{Observer, Snapshot};
use view::{Kind, Parameters, View};

/// Longest wait of a new page for sources that have not answered yet
const PATIENCE: Duration = Duration::from_millis(60);
/// Number of viewers that receive updates at once
const VIEWERS_MAX: usize = 100;
/// Number of rendered views kept of one snapshot
const RENDERED_MAX: usize = 32;

/// State that all requests of the page share
pub(crate) struct Site {
    observer: Observer,
    /// The command that serves it.
    command: &'static str,
    address: String,
    viewers: Semaphore,
    rendered: Mutex<Rendered>,
    letters: Mutex<letters::Kept>,
    /// Changes that the page may make; `None` if it only reads
    actions: Option<Actions>,
}

/// The sections of views of one snapshot.
#[derive(Default)]
struct Rendered {
    snapshot: u64,
    views: HashMap<View, Arc<Vec<Section>>>,
}

/// A part of the page that is replaced when it changes.
struct Section {
    /// Its element's id.
    id: &'static str,
    markup: Markup,
    /// Hash of what is not in a part.
    hash: u64,
    /// Parts that are replaced on their own, so that a number that moves does not send the rest again
    parts: Vec<Section>,
}

impl Section {
    fn new(id: &'static str, markup: Markup) -> Self {
        let markup = visible(markup);
        Self {
            id,
            hash: hash(&markup),
            markup,
            parts: Vec::new(),
        }
    }

    /// A section of parts, each of which `frame` renders once, in an element of its id.
    fn of_parts(id: &'static str, parts: Vec<Self>, frame: impl Fn(&[Self]) -> Markup) -> Self {
        let hollow = parts
            .iter()
            .map(|part| Self::new(part.id, Markup::default()));
        Self {
            id,
            hash: hash(&frame(&hollow.collect::<Vec<_>>())),
            markup: visible(frame(&parts)),
            parts,
        }
    }
}

/// Makes hidden characters in the texts of HTML visible. Attributes keep them: a form sends its values back.
fn visible(mut markup: Markup) -> Markup {
    let is_hidden = |c: char| is_deceptive(c) && !matches!(c, '\n' | '\r' | '\t');
    let html = &markup.0;
    if !html.contains(is_hidden) {
        return markup;
    }
    let mut out = String::with_capacity(html.len() + 64);
    let mut is_in_tag = false;
    for c in html.chars() {
        // `<` and `>` are escaped in texts and in attributes.
        is_in_tag = c == '<' || is_in_tag && c != '>';
        match is_hidden(c) && !is_in_tag {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
    }
    markup.0 = out;
    markup
}

fn hash(markup: &Markup) -> u64 {
    let mut hasher = DefaultHasher::new();
    markup.0.hash(&mut hasher);
    hasher.finish()
}

/// The paths of all views.
pub(super) fn paths() -> impl Iterator<Item = &'static str> {
    Kind::paths()
}

impl Site {
    pub(crate) fn new(
        observer: Observer,
        command: &'static str,
        address: SocketAddr,
        actions: Option<Actions>,
    ) -> Arc<Self> {
        Arc::new(Self {
            observer,
            command,
            address: address.to_string(),
            viewers: Semaphore::new(VIEWERS_MAX),
            rendered: Mutex::default(),
            letters: Mutex::default(),
            actions,
        })
    }

    pub(crate) fn observer(&self) -> &Observer {
        &self.observer
    }

    /// The sections of a view as they are now, and the snapshot that they show.
    fn sections(&self, view: &View, patience: Duration) -> (Arc<Snapshot>, Arc<Vec<Section>>) {
        let snapshot = self.observer.look(patience);
        {
            let mut rendered = self.rendered.lock();
            if rendered.snapshot != snapshot.number {
                rendered.views.clear();
                rendered.snapshot = snapshot.number;
            }
            if let Some(sections) = rendered.views.get(view) {
                return (snapshot, Arc::clone(sections));
            }
        }
        let mut sections = layout::sections(&snapshot);
        sections.extend(match view.kind {
            Kind::Overview => overview::sections(self, view, &snapshot),
            Kind::Streams => streams::sections(self, &snapshot),
            Kind::Files => files::sections(self, view, &snapshot),
            Kind::Log => log::sections(self, view, &snapshot),
            Kind::Config => config::sections(self),
            Kind::Groups => groups::sections(self, &snapshot),
            Kind::DeadLetters => letters::sections(self, view, &snapshot),
        });
        let sections = Arc::new(sections);
        let mut rendered = self.rendered.lock();
        if rendered.snapshot == snapshot.number && rendered.views.len() < RENDERED_MAX {
            rendered.views.insert(view.clone(), Arc::clone(&sections));
        }
        (snapshot, sections)
    }
}

/// A whole page.
pub(super) async fn view(
    State(site): State<Arc<Site>>,
    uri: Uri,
    headers: HeaderMap,
    Query(parameters): Query<Parameters>,
) -> Response {
    let Some(kind) = Kind::at(uri.path()) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let view = View::new(kind, &parameters);
    let is_signed_in = site.is_signed_in(&headers);
    let made = tokio::task::spawn_blocking(move || {
        let (snapshot, sections) = site.sections(&view, PATIENCE);
        let mut sections: Vec<_> = sections.iter().collect();
        let once = match view.kind {
            Kind::Log => Some(log::records(&site, &view)),
            _ => None,
        };
        sections.extend(once.as_ref());
        let said = act::said(&site, &view);
        if let Some(said) = &said {
            sections.insert(layout::HEAD, said);
        }
        let frame = layout::Frame {
            site: &site,
            snapshot: &snapshot,
            title: kind.title(),
            view: Some(&view),
            is_signed_in,
        };
        layout::document(&frame, &sections).into_string()
    });
    match made.await {
        Ok(html) => (
            [
                (header::CONTENT_TYPE, "text/html; charset=utf-8"),
                (header::CACHE_CONTROL, "no-store"),
            ],
            html,
        )
            .into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
