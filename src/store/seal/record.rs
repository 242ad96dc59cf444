//! The texts of a record, sealed and opened together.

use uuid::Uuid;

use super::{Field, Place, Seal, SealError};
use crate::{
    context::private::Private,
    store::record::{Ended, Line, Record},
};

impl Seal {
    /// A record as it is to be written: as much of its transcript as is kept, and its recap, sealed.
    pub fn seal_record(&self, record: Record) -> Result<Record, SealError> {
        let session = record.session;
        let sealed = |ended: Ended| {
            let lines: Vec<Line> = ended.kept().cloned().collect();
            self.texts(session, Ended { transcript: lines, ..ended }, |place, text| self.seal(place, text.expose()))
        };
        Ok(Record { ended: record.ended.map(sealed).transpose()?, ..record })
    }

    /// A record as it was before it was written. Where no key opens what was said that is left out, and the record says so: whose
    /// call it is and how it went is known, and it can be removed.
    pub fn open_one(&self, record: Record) -> Record {
        let (record, failed) = self.open_or_bare(record);
        left_out(failed);
        record
    }

    /// A record as it was before it was written, or nothing of it.
    pub(super) fn open_record(&self, record: Record) -> Result<Record, SealError> {
        let session = record.session;
        let open = |ended: Ended| self.texts(session, ended, |place, text| self.open(place, text.expose().clone()));
        Ok(Record { ended: record.ended.map(open).transpose()?, ..record })
    }

    /// The records of a list. What cannot be read of them is left out, so that the list can be.
    pub fn open_list(&self, records: Vec<Record>) -> Vec<Record> {
        let (open, failed): (Vec<_>, Vec<_>) = records.into_iter().map(|record| self.open_or_bare(record)).unzip();
        left_out(failed.into_iter().flatten());
        open
    }

    /// A call's recap as it is to be written; an empty one stays empty, because stores look for those that are not.
    pub fn seal_recap(&self, session: Uuid, recap: &Private<String>) -> Result<Private<String>, SealError> {
        match recap.expose().is_empty() {
            true => Ok(Private::default()),
            false => Ok(self.seal(Place { session, field: Field::Recap }, recap.expose())?.into()),
        }
    }

    /// The recap of a call, for a prompt; none if it cannot be read.
    pub fn open_recap(&self, session: &str, text: String) -> Option<Private<String>> {
        let session = session.parse().map_err(|_| SealError::Damaged);
        let open = session.and_then(|session| self.open(Place { session, field: Field::Recap }, text));
        open.map_err(|error| left_out([error])).ok().map(Private::new)
    }

    /// What cannot be read is left out, and why is told.
    fn open_or_bare(&self, record: Record) -> (Record, Option<SealError>) {
        match self.open_record(record.clone()) {
            Ok(open) => (open, None),
            Err(error) => {
                let bare = |ended| Ended { recap: Private::default(), transcript: Vec::new(), sealed: true, ..ended };
                (Record { ended: record.ended.map(bare), ..record }, Some(error))
            }
        }
    }

    fn texts(
        &self,
        session: Uuid,
        ended: Ended,
        change: impl Fn(Place, &Private<String>) -> Result<String, SealError>,
    ) -> Result<Ended, SealError> {
        // An empty recap is no text: stores look for those that are not.
        let recap = match ended.recap.expose().is_empty() {
            true => Private::default(),
            false => change(Place { session, field: Field::Recap }, &ended.recap)?.into(),
        };
        let lines = ended.transcript.into_iter().enumerate().map(|(number, line)| {
            let field = Field::Line(u32::try_from(number).unwrap_or(u32::MAX));
            Ok(Line { text: change(Place { session, field }, &line.text)?.into(), ..line })
        });
        Ok(Ended { recap, transcript: lines.collect::<Result<_, _>>()?, ..ended })
    }
}

/// Says once that something cannot be read, and how much.
fn left_out(errors: impl IntoIterator<Item = SealError>) {
    let errors: Vec<SealError> = errors.into_iter().collect();
    if let [error, ..] = errors.as_slice() {
        tracing::warn!(%error, calls = errors.len(), "what was said in earlier calls is left out");
    }
}
