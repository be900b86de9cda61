//! The groups: how far each has come in each partition, and which sink holds it.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::act::buttons;
use super::layout::{age, nothing, tag};
use super::streams::{unaccounted, unknown};
use super::{Section, Site};
use crate::observe::{GroupTotals, Snapshot};
use crate::positions::{Line, shown_owner};
use crate::screen::{counted, grouped};
use crate::units::duration;

pub(super) fn sections(site: &Site, snapshot: &Snapshot) -> Vec<Section> {
    vec![Section::new("groups", groups(site, snapshot))]
}

fn groups(site: &Site, snapshot: &Snapshot) -> Markup {
    let mut groups: BTreeMap<&str, Vec<&Line>> = BTreeMap::new();
    for line in &snapshot.status.groups {
        groups.entry(&line.group).or_default().push(line);
    }
    let postgres = &snapshot.status.postgres;
    if groups.is_empty() {
        return nothing(match (&postgres.error, &postgres.server) {
            _ if postgres.is_stopped => {
                "The private PostgreSQL is stopped: it runs while a sink uses it."
            }
            (Some(_), _) => "The groups are stored in PostgreSQL, which is unreachable.",
            (None, None) => {
                "This process is not connected to PostgreSQL, so it cannot show the groups."
            }
            (None, Some(_)) => "No group has applied anything to this database yet.",
        });
    }
    html! {
        @for (name, lines) in groups { (group(site, snapshot, (name, &lines))) }
    }
}

fn group(site: &Site, snapshot: &Snapshot, (name, lines): (&str, &[&Line])) -> Markup {
    let totals = GroupTotals::of(lines.iter().copied());
    let sink = site.observer.service().parts().sink;
    let is_paused = sink.is_some_and(|sink| sink.stats.is_paused());
    let is_here = snapshot.has_sink && snapshot.flow.group == name;
    html! {
        section .group {
            div .bar-title {
                h2 { (name) }
                @if totals.held == 0 { (tag("warn", "no sink runs")) }
                @else { (tag("flow", &format!("{} of {} partitions held", totals.held, totals.partitions))) }
                @if is_here {
                    (tag("", "a sink in this process"))
                    @if is_paused { (tag("warn", "paused")) (buttons(site, &[], &[("resume", "Resume")])) }
                    @else { (buttons(site, &[], &[("pause", "Pause")])) }
                }
                @if lines.iter().any(|line| line.is_of_other_log) { (tag("bad", "belongs to a different log")) }
                (age(snapshot.ages.database))
                span .note.right {
                    (counted(totals.rows, "row")) " + " (grouped(totals.superseded)) " superseded + "
                    (counted(totals.dead_letters, "dead letter"))
                }
            }
            div .card tabindex="0" role="region" aria-label=(format!("Group {name}")) {
                table .stack {
                    thead { tr {
                        th scope="col" { "Partition" } th .n scope="col" { "Next" } th .n scope="col" { "End" }
                        th .n scope="col" { "Lag" } th .n scope="col" { "Oldest waits" }
                        th .n scope="col" { "Rows" } th .n scope="col" { "Superseded" } th .n scope="col" { "Dead letters" }
                        th .n scope="col" { "Unaccounted" }
                        th scope="col" { "Held by" }
                    } }
                    tbody {
                        @for line in lines {
                            tr {
                                th .m scope="row" { (line.topic) "/" (line.partition) }
                                td .n data-label="Next" { (grouped(line.next)) }
                                td .n data-label="End" { (known(line.end)) }
                                td .n data-label="Lag" { @if line.lag == Some(0) { span .zero { "0" } } @else { (known(line.lag)) } }
                                td .n data-label="Oldest waits" { @match line.lag_seconds { Some(seconds) if seconds > 0.0 => (duration(seconds)), _ => "–" } }
                                td .n data-label="Rows" { (grouped(line.rows)) }
                                td .n data-label="Superseded" { (grouped(line.superseded)) }
                                td .n data-label="Dead letters" { (grouped(line.dead_letters)) }
                                td .n data-label="Unaccounted" { (unaccounted(line.unaccounted.unsigned_abs())) }
                                td .m.whole data-label="Held by" { @match &line.owner { Some(owner) => (shown_owner(owner)), None => "–" } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn known(number: Option<u64>) -> Markup {
    number.map_or_else(unknown, |number| html! { (grouped(number)) })
}
