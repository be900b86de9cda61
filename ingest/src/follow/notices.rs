//! What is noticed of files on the way: reported once, and kept with their entries.

use bekk_stream::FileId;

use crate::config::Mode;
use crate::follow::engine::Engine;
use crate::stats::Stats;

impl Engine<'_> {
    /// Looks after files that wait for a quote to be closed.
    pub(crate) fn watch_quotes(&mut self) {
        let files = self.catalog.iter();
        let is_open = files.filter(|(_, tracked)| tracked.quote_open.is_some());
        let waiting: Vec<FileId> = is_open.map(|(id, _)| id).collect();
        for id in waiting {
            if let Some(tracked) = self.catalog.get_mut(id) {
                tracked.watch_quote();
            }
            self.report_notices(id);
        }
    }

    /// Keeps what has been noticed of a file that is reported otherwise.
    pub(crate) fn keep_notices(&mut self, id: FileId) {
        if let Some(tracked) = self.catalog.get_mut(id) {
            tracked.take_news();
            self.account.touch();
        }
    }

    /// Reports what has been noticed of a file, each kind once: in a warning, or in the summary of the run.
    pub(crate) fn report_notices(&mut self, id: FileId) {
        let Some(tracked) = self.catalog.get_mut(id) else {
            return;
        };
        let Some(news) = tracked.take_news() else {
            return;
        };
        self.account.touch();
        for notice in &tracked.entry.notices {
            // The summary says what holds at the end.
            if let Some(at) = self.noticed.get(&(id, notice.kind)) {
                self.summary.notices[*at].1.clone_from(&notice.text);
            }
        }
        Stats::add(&self.around.stats.notices, news.len() as u64);
        for notice in news {
            let path = tracked.path.display();
            if self.around.config.mode == Mode::Follow {
                tracing::warn!(%path, file = %id, kind = %notice.kind, "{}", notice.text);
            } else {
                tracing::info!(%path, file = %id, kind = %notice.kind, "{}", notice.text);
                let at = self.summary.notices.len();
                self.noticed.insert((id, notice.kind), at);
                let noticed = (tracked.path.clone(), notice.text);
                self.summary.notices.push(noticed);
            }
        }
    }
}
