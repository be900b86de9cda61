//! `bekk top`: the overview in a terminal.

mod screen;

use std::io::{IsTerminal as _, stdout};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bekk_log::Client;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};

use super::Outcome;
use crate::args::{Global, Top};
use crate::context::Context;
use crate::log_place::{LogPlace, holder};
use crate::observe::Observer;
use crate::service::Service;
use crate::signals;
use screen::{Tab, Terminal};

/// Interval between two pictures.
const EVERY: Duration = Duration::from_millis(500);
/// Interval at which the log's owner is looked for.
const JOIN_EVERY: Duration = Duration::from_secs(1);
/// Longest wait for the first answers.
const PATIENCE: Duration = Duration::from_millis(300);

pub(crate) fn run(global: &Global, args: &Top) -> Result<Outcome> {
    ensure!(
        stdout().is_terminal(),
        "`bekk top` needs a terminal; for pipes and files: bekk status --watch"
    );
    let stop = signals::stop_flag().context("listen for signals")?;
    let context = Arc::new(Context::load(global)?);
    let service = Arc::<Service>::default();
    let place = context.log_place(&args.log)?;
    if args.postgres.postgres.is_some() {
        let database = context.database(&args.postgres)?;
        service.has_postgres(&database.options, &database.description);
    }
    thread::Builder::new()
        .name("join".to_owned())
        .spawn({
            let (service, place, stop) = (Arc::clone(&service), place.clone(), Arc::clone(&stop));
            move || keep_log(&service, &place, &stop)
        })
        .context("start a thread")?;
    let observer = Observer::onlooker(&service, &context, place);
    let mut terminal = Terminal::start().context("set the terminal up")?;
    let mut view = View::default();
    while !signals::is_set(&stop) && !view.is_over {
        let snapshot = observer.look(PATIENCE);
        terminal
            .draw(&observer, &snapshot, view.tab, view.scroll)
            .context("write to the terminal")?;
        view.wait().context("read from the terminal")?;
    }
    Ok(Outcome::Done)
}

/// The view and scroll position chosen at the terminal.
#[derive(Default)]
struct View {
    tab: Tab,
    scroll: usize,
    is_over: bool,
}

impl View {
    /// Waits for a key, or until it is time for the next picture.
    fn wait(&mut self) -> std::io::Result<()> {
        if !event::poll(EVERY)? {
            return Ok(());
        }
        let Event::Key(key) = event::read()? else {
            return Ok(());
        };
        if key.kind == KeyEventKind::Release {
            return Ok(());
        }
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if is_control => self.is_over = true,
            KeyCode::Char('q') | KeyCode::Esc => self.is_over = true,
            KeyCode::Char(digit @ '1'..='4') => self.show(Tab::at(digit)),
            KeyCode::Tab | KeyCode::Right => self.show(self.tab.next()),
            KeyCode::BackTab | KeyCode::Left => self.show(self.tab.previous()),
            KeyCode::Down | KeyCode::Char('j') => self.scroll += 1,
            KeyCode::PageDown => self.scroll += 10,
            KeyCode::Up | KeyCode::Char('k') => self.scroll = self.scroll.saturating_sub(1),
            KeyCode::PageUp => self.scroll = self.scroll.saturating_sub(10),
            KeyCode::Home => self.scroll = 0,
            _ => {}
        }
        Ok(())
    }

    fn show(&mut self, tab: Tab) {
        self.tab = tab;
        self.scroll = 0;
    }
}

/// Joins the log while another process has it, and disconnects when that process exits: `top` never owns a log, for
/// it would keep its owner's place.
fn keep_log(service: &Service, place: &LogPlace, stop: &AtomicBool) {
    let mut client: Option<Client> = None;
    while !signals::is_set(stop) {
        if client
            .as_ref()
            .is_some_and(|client| client.check().is_err())
        {
            client = None;
            service.has_no_log();
        }
        let is_served = place.dir().is_none_or(|dir| holder(dir).is_some());
        if client.is_none() && is_served {
            match place.open() {
                Ok(owned) if owned.is_owner() => drop(owned.close()),
                Ok(joined) => {
                    service.has_log(&joined);
                    client = Some(joined);
                }
                Err(error) => service.log_waits_for(&format!("{error:#}")),
            }
        }
        thread::sleep(JOIN_EVERY);
    }
}
