//! Signing in, and the changes that a viewer who has signed in may make.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bekk_sink::{LetterFilter, Retried};
use maud::{Markup, html};

use super::view::{Kind, Parameters, View};
use super::{Section, Site, layout};
use crate::http::actions::{Actions, Proof, is_same_origin};
use crate::retrier::{self, Tally};
use crate::screen::{counted, grouped};

/// Pause after a wrong token.
const WRONG_TOKEN_PAUSE: Duration = Duration::from_millis(500);
/// Number of letters whose reasons to stay open are shown.
const SHOWN_MAX: usize = 5;

/// Answer that refuses a request
type Refusal = (StatusCode, &'static str);

const READ_ONLY: Refusal = (StatusCode::NOT_FOUND, "this page is read-only\n");
const FOREIGN: Refusal = (
    StatusCode::FORBIDDEN,
    "this page can be changed only from itself, or with the header `Authorization: Bearer TOKEN`, the token of \
     --http-token-file\n",
);

/// The form that asks for the token. Its parameter `to` is the view to return to.
pub(crate) async fn sign_in_form(
    State(site): State<Arc<Site>>,
    headers: HeaderMap,
    Query(parameters): Query<Parameters>,
) -> Response {
    let form = Form {
        to: place(&parameters),
        fault: None,
        is_signed_in: site.is_signed_in(&headers),
    };
    page(site, StatusCode::OK, form).await
}

/// The view that a form names, else the overview.
fn place(given: &Parameters) -> Kind {
    let named = given.get("to").and_then(|path| Kind::at(path));
    named.unwrap_or(Kind::Overview)
}

/// Takes the token, and begins a session.
pub(crate) async fn sign_in(
    State(site): State<Arc<Site>>,
    headers: HeaderMap,
    body: String,
) -> Result<Response, Refusal> {
    let actions = own_form(&site, &headers)?;
    let given = fields(&body);
    if !actions.is_token(given.get("token").map_or("", String::as_str)) {
        tokio::time::sleep(WRONG_TOKEN_PAUSE).await;
        let form = Form {
            to: place(&given),
            fault: Some("This is not the token."),
            is_signed_in: false,
        };
        return Ok(page(Arc::clone(&site), StatusCode::FORBIDDEN, form).await);
    }
    let cookie = format!(
        "{}={}; Path=/; HttpOnly; SameSite=Strict",
        site.cookie(),
        actions.begin_session()
    );
    let to = [
        (header::SET_COOKIE, cookie),
        (header::LOCATION, place(&given).path().to_owned()),
    ];
    Ok((StatusCode::SEE_OTHER, to).into_response())
}

/// Ends the session, and returns to the view that the form names.
pub(crate) async fn sign_out(
    State(site): State<Arc<Site>>,
    headers: HeaderMap,
    body: String,
) -> Result<Response, Refusal> {
    let actions = own_form(&site, &headers)?;
    if let Some(session) = actions.session(&headers, &site.cookie()) {
        actions.end_session(&session);
    }
    Ok(see(place(&fields(&body)).path()))
}

/// Returns the actions for a form that comes from this page.
fn own_form<'a>(site: &'a Site, headers: &HeaderMap) -> Result<&'a Actions, Refusal> {
    let actions = site.actions.as_ref().ok_or(READ_ONLY)?;
    match is_same_origin(headers) {
        true => Ok(actions),
        false => Err(FOREIGN),
    }
}

/// Makes a change.
pub(crate) async fn act(
    State(site): State<Arc<Site>>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let Some(actions) = &site.actions else {
        return READ_ONLY.into_response();
    };
    let given = fields(&body);
    let back = match given.get("act").map(String::as_str) {
        Some("pause" | "resume") => Kind::Groups,
        _ => Kind::DeadLetters,
    };
    let Some(proof) = actions.proof(&headers, &site.cookie()) else {
        // A browser without a session is asked for the token; any other client gets an error that names what is missing.
        return match is_same_origin(&headers) {
            true => see(&format!("/sign-in?to={}", back.path())),
            false => FOREIGN.into_response(),
        };
    };
    let acting = Arc::clone(&site);
    let done = tokio::task::spawn_blocking(move || perform(&acting, &given)).await;
    let (status, text) = match done {
        Ok(Ok(text)) => (StatusCode::OK, text),
        Ok(Err(error)) => (
            StatusCode::CONFLICT,
            format!("Nothing was changed: {error:#}"),
        ),
        Err(_) => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    };
    tracing::info!(result = text, "changed from the page");
    match proof {
        Proof::Token => (status, format!("{text}\n")).into_response(),
        Proof::Session => see(&format!("{}?said={}", back.path(), actions.keep(text))),
    }
}

fn see(place: &str) -> Response {
    (
        StatusCode::SEE_OTHER,
        [(header::LOCATION, place.to_owned())],
    )
        .into_response()
}

/// The fields of a form, as a browser sends them.
fn fields(body: &str) -> Parameters {
    let uri = format!("/?{body}").parse::<Uri>().ok();
    let given = uri.and_then(|uri| Query::<Parameters>::try_from_uri(&uri).ok());
    given.map(|Query(fields)| fields).unwrap_or_default()
}

fn perform(site: &Site, given: &Parameters) -> Result<String> {
    let field = |name: &str| given.get(name).map_or("", String::as_str);
    match field("act") {
        act @ ("pause" | "resume") => {
            let sink = site.observer.service().parts().sink;
            let sink = sink.ok_or_else(|| anyhow!("no sink runs in this process"))?;
            sink.stats.set_paused(act == "pause");
            Ok(match act {
                "pause" => "The sink is paused: records wait in the log until you resume it, or bekk starts again.",
                _ => "The sink continues.",
            }
            .to_owned())
        }
        "retry" => retry(site, &filter(given)?),
        "discard" => {
            let filter = filter(given)?;
            let options = site.observer.postgres();
            let options = options.ok_or_else(|| anyhow!("no PostgreSQL is known here"))?;
            let count = bekk_sink::discard_letters(&options, &filter)?;
            Ok(match count {
                0 => "No dead letter was discarded: no open one was found.".to_owned(),
                _ => format!(
                    "{} discarded, and kept as resolved.",
                    counted(count, "dead letter")
                ),
            })
        }
        other => bail!("`{other}` is not an action; use retry, discard, pause or resume"),
    }
}

/// The letter that is named, or with `all` those of a stream and a reason.
fn filter(given: &Parameters) -> Result<LetterFilter> {
    let text = |name: &str| given.get(name).filter(|text| !text.is_empty()).cloned();
    let ids = match given.get("id").map(String::as_str) {
        Some("all") => None,
        Some(id) => {
            Some(vec![id.parse().map_err(|_| {
                anyhow!("`{id}` is not the number of a dead letter")
            })?])
        }
        None => bail!("name a dead letter: id=NUMBER, or id=all"),
    };
    Ok(LetterFilter {
        ids,
        stream: text("stream"),
        reason: text("reason"),
        ..LetterFilter::default()
    })
}

fn retry(site: &Site, filter: &LetterFilter) -> Result<String> {
    let options = site.observer.postgres();
    let options = options.ok_or_else(|| anyhow!("no PostgreSQL is known here"))?;
    let log = site
        .observer
        .client()
        .ok_or_else(|| anyhow!("the log is not open"))?;
    let context = site.observer.context();
    let mut reasons = Vec::new();
    let tally = retrier::retry(
        context,
        &options,
        &log,
        (filter, None),
        &mut |letter, retried| {
            if let Retried::Open(why) = retried
                && reasons.len() < SHOWN_MAX
            {
                reasons.push(format!("{} stays: {why}", letter.id));
            }
        },
    )?;
    let Tally {
        retried,
        superseded,
        open,
        ..
    } = tally;
    let mut text = format!(
        "{} retried, {} superseded by a newer record, {} still open.",
        grouped(retried),
        grouped(superseded),
        grouped(open)
    );
    for reason in reasons {
        text.push_str(&format!(" {reason}."));
    }
    Ok(text)
}

/// Returns the result of a change, for the page that the browser is sent to.
pub(super) fn said(site: &Site, view: &View) -> Option<Section> {
    let actions = site.actions.as_ref()?;
    let text = actions.said(view.number("said")?)?;
    Some(Section::new(
        "said",
        html! { div .health role="status" { p { (layout::prose(&text)) } } },
    ))
}

/// Buttons, each of which does one thing to one subject.
pub(super) fn buttons(site: &Site, fields: &[(&str, &str)], acts: &[(&str, &str)]) -> Markup {
    html! {
        @if site.actions.is_some() {
            form .acts method="post" action="/act" {
                @for (name, value) in fields { input type="hidden" name=(name) value=(value); }
                @for (act, title) in acts { button type="submit" name="act" value=(act) { (title) } }
            }
        }
    }
}

/// Content of the form to sign in
struct Form {
    /// The view to return to.
    to: Kind,
    fault: Option<&'static str>,
    is_signed_in: bool,
}

impl Form {
    fn markup(&self) -> Markup {
        html! {
            div .card .sign-in {
                h2 { "Sign in" }
                @if let Some(fault) = self.fault { p .fault role="alert" { (fault) } }
                form method="post" action="/sign-in" {
                    input type="hidden" name="to" value=(self.to.path());
                    label for="token" { "Token" }
                    input #token type="password" name="token" autocomplete="current-password" required autofocus;
                    button type="submit" { "Sign in" }
                }
                p .note { "The token is in the file that " code { "--http-token-file" } " names. With it you retry and discard dead letters, and pause and resume the sink of this process." }
            }
        }
    }
}

async fn page(site: Arc<Site>, status: StatusCode, form: Form) -> Response {
    if site.actions.is_none() {
        return READ_ONLY.into_response();
    }
    let made = tokio::task::spawn_blocking(move || {
        let view = View::new(Kind::Overview, &Parameters::new());
        let (snapshot, sections) = site.sections(&view, super::PATIENCE);
        let section = Section::new("sign-in", form.markup());
        let badge = sections.iter().find(|section| section.id == layout::BADGE);
        let frame = layout::Frame {
            site: &site,
            snapshot: &snapshot,
            title: "Sign in",
            view: None,
            is_signed_in: form.is_signed_in,
        };
        let sections: Vec<_> = badge.into_iter().chain([&section]).collect();
        layout::document(&frame, &sections).into_string()
    });
    match made.await {
        Ok(html) => (
            status,
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

impl Site {
    /// The name of the session's cookie: browsers send those of every port of a host.
    fn cookie(&self) -> String {
        let port = self.address.rsplit(':').next().unwrap_or_default();
        format!("bekk-{port}")
    }

    /// Whether a request comes from a browser that has signed in.
    pub(super) fn is_signed_in(&self, headers: &HeaderMap) -> bool {
        let actions = self.actions.as_ref();
        actions.is_some_and(|actions| actions.session(headers, &self.cookie()).is_some())
    }
}

/// Whether the page can change something, for its foot; `to` is the view in sight.
pub(super) fn rights(site: &Site, is_signed_in: bool, to: &str) -> Markup {
    html! {
        @match (&site.actions, is_signed_in) {
            (None, _) => "read-only",
            (Some(_), false) => a href={ "/sign-in?to=" (to) } { "sign in to make changes" },
            (Some(_), true) => {
                "signed in, "
                form .inline method="post" action="/sign-out" {
                    input type="hidden" name="to" value=(to);
                    button type="submit" { "sign out" }
                }
            }
        }
    }
}
