//! What every view has: the head with its links, the first line that says how things are, the foot.

use maud::{DOCTYPE, Markup, html};

use super::assets::{SCRIPT_AT, STYLE_AT};
use super::view::{Kind, View};
use super::{Section, Site};
use crate::observe::{Health, Snapshot};
use crate::screen::grouped;
use crate::status::Act;

/// A whole page.
pub(super) fn document(
    site: &Site,
    view: &View,
    snapshot: &Snapshot,
    sections: &[&Section],
) -> Markup {
    let title = view.kind.title();
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · bekk" }
                link rel="icon" href="/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href=(*STYLE_AT);
                script src=(*SCRIPT_AT) defer {}
            }
            body {
                a .skip href="#main" { "Skip to content" }
                header {
                    a .name href="/" { "bekk" }
                    nav aria-label="Views" {
                        @for kind in Kind::all() {
                            a href=(kind.path()) aria-current=[(kind == view.kind).then_some("page")] {
                                (kind.title())
                                @if let Some(section) = badge(kind, sections) { (section) }
                            }
                        }
                    }
                    span #live .live data-keep { "as of " time { (snapshot.at.strftime("%H:%M:%S")) } " UTC" }
                }
                main #main tabindex="-1" {
                    h1 .sr { (title) }
                    @for section in sections.iter().filter(|section| section.id != BADGE) {
                        div #(section.id) .section { (section.markup) }
                    }
                    noscript { p .note { "Reload to see newer numbers: this page updates itself only with JavaScript." } }
                }
                (footer(site))
            }
        }
    }
}

/// The id of the badge beside the dead letters' link.
const BADGE: &str = "badge";

/// Number of sections that every view has.
pub(super) const HEAD: usize = 2;

/// The sections that every view has.
pub(super) fn sections(snapshot: &Snapshot) -> Vec<Section> {
    vec![
        Section::new(BADGE, letters_badge(snapshot)),
        Section::new("health", health(snapshot)),
    ]
}

fn badge(kind: Kind, sections: &[&Section]) -> Option<Markup> {
    let section = sections.iter().find(|section| section.id == BADGE)?;
    (kind.path() == "/dead-letters").then(|| html! { span #(BADGE) { (section.markup) } })
}

fn letters_badge(snapshot: &Snapshot) -> Markup {
    let open = snapshot.open_letters();
    html! {
        @if open > 0 { " " span .tag.bad { (grouped(open)) span .sr { " open" } } }
    }
}

fn health(snapshot: &Snapshot) -> Markup {
    let health = Health::of(snapshot);
    html! {
        div .health.(health.level.as_str()) role="status" {
            b { (health.title) }
            p {
                (health.text)
                @match &health.act {
                    Some(Act::Run(command)) => { " " (self::command(command)) }
                    Some(Act::Do(what)) if *what != health.text => { " " strong { "Next: " } (what) "." }
                    _ => {}
                }
            }
        }
    }
}

/// A word in a coloured pill.
pub(super) fn tag(level: &'static str, text: &str) -> Markup {
    html! { span .tag.(level) { (text) } }
}

/// What is said where a list has nothing in it.
pub(super) fn nothing(text: &str) -> Markup {
    html! { div .card { p .note.empty { (text) } } }
}

/// A command to type.
pub(super) fn command(text: &str) -> Markup {
    html! { code .command { (text) } }
}

fn footer(site: &Site) -> Markup {
    let history = match site.observer.history().is_persisted() {
        true => "",
        false => " · history kept in memory only",
    };
    html! {
        footer {
            "bekk " (env!("CARGO_PKG_VERSION")) " · served by " code { "bekk " (site.command) }
            " (pid " (std::process::id()) ") · " (super::act::rights(site.actions.as_ref())) " · "
            a href="/metrics" { "metrics" } " · " a href="/readyz" { "readiness" } (history)
        }
    }
}
