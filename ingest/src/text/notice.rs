//! What a file has that its stream did not expect, and that stops nothing: reported once per file.

use bekk_stream::REJECT_RAW_MAX;

use crate::text::coded::coded;

/// Something about a file that a person should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The kind.
    pub kind: NoticeKind,
    /// What was found, and what to do where something can be done.
    pub text: String,
}

coded! {
    /// What can be noticed of a file.
    NoticeKind {
        /// A header name is a column's but for case and white space.
        HeaderNear = "header_near",
        /// A header name is no column's.
        HeaderUnknown = "header_unknown",
        /// A column has no field in the file.
        ColumnMissing = "column_missing",
        /// Lines that repeat the header were passed over.
        HeaderRepeated = "header_repeated",
        /// The file continues under the header of the one before it.
        HeaderInherited = "header_inherited",
        /// A quote that is not closed keeps back what follows.
        OpenQuote = "open_quote",
        /// Zero bytes were passed over, or wait at the end.
        Zeros = "zeros",
        /// Lines were passed over as the stream says: a footer, or what names the delimiter.
        Passed = "passed",
        /// A last line was taken without its line end, and the file has grown behind it.
        TakenShort = "taken_short",
        /// A finished file stays where it is, though the stream says otherwise.
        Kept = "kept",
        /// A last line without its line end was left.
        HalfRecord = "half_record",
        /// A record was so long that its dead letter has not all of its bytes.
        LetterCut = "letter_cut",
        /// Records that the log had lost were not appended again, as later ones of their keys are there.
        Superseded = "superseded",
        /// Records begin with a byte order mark, as where files were concatenated.
        MarkInside = "mark_inside",
        /// Numbers have digits that their columns do not keep: zeros before the others, or more than a float holds.
        DigitsLost = "digits_lost",
    }
}

impl NoticeKind {
    /// Whether something is held up by it until someone acts.
    #[must_use]
    pub fn needs_someone(self) -> bool {
        matches!(
            self,
            Self::OpenQuote | Self::TakenShort | Self::Kept | Self::HalfRecord
        )
    }

    /// Whether it ends by itself when the file continues.
    fn is_passing(self) -> bool {
        matches!(self, Self::OpenQuote | Self::HalfRecord)
    }
}

/// What is to be said of a record that is longer than what a dead letter keeps of it.
pub(crate) fn letter_cut(line: u64, len: u64) -> String {
    format!(
        "the record at line {line} has {len} bytes; its dead letter holds the first {REJECT_RAW_MAX}, the rest is in the \
         file only"
    )
}

/// The notices of a file, at most one of each kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Notices {
    all: Vec<Notice>,
    /// Those that have not been reported yet.
    news: Vec<Notice>,
    is_changed: bool,
}

impl Notices {
    /// Those of an earlier run, which has reported them.
    pub(crate) fn known(all: &[Notice]) -> Self {
        let lasting = all.iter().filter(|notice| !notice.kind.is_passing());
        Self {
            all: lasting.cloned().collect(),
            ..Self::default()
        }
    }

    /// Takes note of something; its kind is news only once.
    pub(crate) fn set(&mut self, kind: NoticeKind, text: String) {
        let notice = Notice { kind, text };
        match self.all.iter_mut().find(|known| known.kind == kind) {
            Some(known) if *known == notice => return,
            Some(known) => {
                if let Some(news) = self.news.iter_mut().find(|news| news.kind == kind) {
                    news.clone_from(&notice);
                }
                *known = notice;
            }
            None => {
                self.news.push(notice.clone());
                self.all.push(notice);
            }
        }
        self.is_changed = true;
    }

    /// Takes note that something is no more.
    pub(crate) fn clear(&mut self, kind: NoticeKind) {
        let before = self.all.len();
        self.all.retain(|known| known.kind != kind);
        self.is_changed |= self.all.len() < before;
    }

    pub(crate) fn all(&self) -> &[Notice] {
        &self.all
    }

    /// What is to be reported, and whether anything has changed since this was asked last.
    pub(crate) fn take_news(&mut self) -> (Vec<Notice>, bool) {
        (
            std::mem::take(&mut self.news),
            std::mem::take(&mut self.is_changed),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_places_in_the_list() {
        for (code, &kind) in (0..).zip(NoticeKind::ALL) {
            assert_eq!(
                (kind.code(), NoticeKind::from_code(code)),
                (code, Some(kind))
            );
        }
        assert_eq!(NoticeKind::from_code(15), None);
    }

    #[test]
    fn a_kind_is_news_once() {
        let mut notices = Notices::default();
        notices.set(NoticeKind::HeaderRepeated, "1 line".to_owned());
        notices.set(NoticeKind::HeaderRepeated, "2 lines".to_owned());
        let (news, is_changed) = notices.take_news();
        assert_eq!((news.len(), is_changed), (1, true));
        assert_eq!(news[0].text, "2 lines");
        assert_eq!(notices.all()[0].text, "2 lines");
        notices.set(NoticeKind::HeaderRepeated, "2 lines".to_owned());
        assert_eq!(notices.take_news(), (Vec::new(), false));
        notices.set(NoticeKind::OpenQuote, "line 3".to_owned());
        let mut later = Notices::known(notices.all());
        assert_eq!(later.all().len(), 1, "an open quote is looked for again");
        later.set(NoticeKind::HeaderRepeated, "3 lines".to_owned());
        assert_eq!(later.take_news(), (Vec::new(), true));
    }
}
