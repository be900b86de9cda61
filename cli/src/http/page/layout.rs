//! Parts of every view: the head with its links, the line that describes the health, the foot.

use std::time::Duration;

use maud::{DOCTYPE, Markup, html};

use super::assets::{SCRIPT_AT, STYLE_AT};
use super::view::{Kind, View};
use super::{Section, Site};
use crate::observe::{Health, Snapshot};
use crate::screen::grouped;
use crate::status::Act;
use crate::units::ago;

/// Surroundings of a page's sections
pub(super) struct Frame<'a> {
    pub(super) site: &'a Site,
    pub(super) snapshot: &'a Snapshot,
    pub(super) title: &'a str,
    /// The view in sight; `None` for the form to sign in.
    pub(super) view: Option<&'a View>,
    pub(super) is_signed_in: bool,
}

/// A whole page.
pub(super) fn document(frame: &Frame<'_>, sections: &[&Section]) -> Markup {
    let Frame {
        snapshot, title, ..
    } = frame;
    let kind_in_sight = frame.view.map(|view| view.kind);
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
                            a href=(kind.path()) aria-current=[(Some(kind) == kind_in_sight).then_some("page")] {
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
                (footer(frame))
            }
        }
    }
}

/// Age from which a fact says how old it is.
const AGE_SHOWN_FROM: Duration = Duration::from_secs(5);

/// The id of the badge beside the dead letters' link.
pub(super) const BADGE: &str = "badge";

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
                (prose(&health.text))
                @match &health.act {
                    Some(Act::Run(command)) => { " " (self::command(command)) }
                    Some(Act::Do(what)) if *what != health.text => { " " strong { "Next: " } (prose(what)) "." }
                    _ => {}
                }
            }
        }
    }
}

/// Renders a message of the terminal, in which backquotes mark code.
pub(super) fn prose(text: &str) -> Markup {
    let parts: Vec<&str> = text.split('`').collect();
    // A lone backquote belongs to the text.
    if parts.len().is_multiple_of(2) {
        return html! { (text) };
    }
    html! {
        @for (at, part) in parts.into_iter().enumerate() {
            @if at % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

/// Renders the age of facts that are older than a few seconds.
pub(super) fn age(age: Option<Duration>) -> Markup {
    html! {
        @if let Some(age) = age.filter(|age| *age >= AGE_SHOWN_FROM) {
            span .old { "as of " (ago(age)) }
        }
    }
}

/// A word in a coloured pill.
pub(super) fn tag(level: &'static str, text: &str) -> Markup {
    html! { span .tag.(level) { (text) } }
}

/// Renders the text of an empty list.
pub(super) fn nothing(text: &str) -> Markup {
    html! { div .card { p .note.empty { (text) } } }
}

/// A command to type.
pub(super) fn command(text: &str) -> Markup {
    html! { code .command { (text) } }
}

fn footer(frame: &Frame<'_>) -> Markup {
    let site = frame.site;
    let to = frame.view.map_or("/", |view| view.kind.path());
    let history = match site.observer.history().is_persisted() {
        true => "",
        false => " · history kept in memory only",
    };
    html! {
        footer {
            "bekk " (env!("CARGO_PKG_VERSION")) " · served by " code { "bekk " (site.command) }
            " (pid " (std::process::id()) ") · " (super::act::rights(site, frame.is_signed_in, to)) " · "
            a href="/metrics" { "metrics" } " · " a href="/readyz" { "readiness" } (history)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::prose;

    #[test]
    fn backquotes_mark_code_unless_one_is_alone() {
        let shown = |text| prose(text).into_string();
        assert_eq!(shown("`a<b>` is new"), "<code>a&lt;b&gt;</code> is new");
        assert_eq!(shown("a ` b"), "a ` b");
        assert_eq!(shown("plain"), "plain");
    }
}
