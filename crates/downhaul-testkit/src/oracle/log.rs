//! [`Log`]: records in the order in which they were made, in memory or in a file.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::record::Record;

#[derive(Debug)]
pub(super) enum Log {
    Memory(Mutex<Vec<Record>>),
    File { path: PathBuf, file: Mutex<File> },
}

impl Log {
    pub(super) fn memory() -> Self {
        Self::Memory(Mutex::default())
    }

    /// Appends to `path`. What a killed writer left half-written at its end is taken away.
    pub(super) fn file(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
        let text = std::fs::read(path)?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        if whole < text.len() {
            file.set_len(u64::try_from(whole).map_err(io::Error::other)?)?;
            file.seek(SeekFrom::End(0))?;
        }
        Ok(Self::File { path: path.to_owned(), file: Mutex::new(file) })
    }

    /// A line goes to the system in one call, so that lines of several processes do not mix and a
    /// process that is killed has written all that it says it has.
    pub(super) fn append(&self, record: Record) -> io::Result<()> {
        match self {
            Self::Memory(records) => {
                records.lock().unwrap_or_else(PoisonError::into_inner).push(record);
                Ok(())
            }
            Self::File { file, .. } => {
                let mut line = serde_json::to_vec(&record)?;
                line.push(b'\n');
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                file.write_all(&line)?;
                file.flush()
            }
        }
    }

    pub(super) fn records(&self) -> io::Result<Vec<Record>> {
        match self {
            Self::Memory(records) => {
                Ok(records.lock().unwrap_or_else(PoisonError::into_inner).clone())
            }
            Self::File { path, .. } => read(path),
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<Record>> {
    let text = std::fs::read_to_string(path)?;
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let parse = |(index, line)| {
        serde_json::from_str(line).map_err(|error| {
            let place = format!("{}:{}: {error}", path.display(), index + 1);
            io::Error::new(ErrorKind::InvalidData, place)
        })
    };
    whole.lines().enumerate().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{Answer, Cause, End};

    fn every_kind() -> Vec<Record> {
        let (id, instance) = (|| "a/0".to_owned(), || "one".to_owned());
        vec![
            Record::Publishing { id: id(), key: Some("a".to_owned()), sequence: 0 },
            Record::Published { id: id(), outcome: Answer::Unknown },
            Record::Began { instance: instance(), number: 1, id: id(), key: None, attempt: 2 },
            Record::Ended { instance: instance(), number: 1, id: id(), end: End::DeadLettered },
            Record::Dead { id: id(), reason: Some("a \"quoted\"\nline".to_owned()), origin: None },
            Record::Cause(Cause::LinkLost { instance: instance(), unsettled: 16 }),
            Record::Cause(Cause::SettlementLost { id: id() }),
        ]
    }

    fn fresh_path() -> PathBuf {
        std::env::temp_dir().join(crate::unique("downhaul-oracle"))
    }

    #[test]
    fn what_is_written_to_a_file_is_read_from_it() {
        let path = fresh_path();
        let log = Log::file(&path).unwrap();
        every_kind().into_iter().for_each(|record| log.append(record).unwrap());
        assert_eq!(log.records().unwrap(), every_kind());
        drop(log);
        assert_eq!(Log::file(&path).unwrap().records().unwrap(), every_kind(), "it is kept");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn half_a_line_of_a_killed_writer_is_neither_read_nor_joined_to_the_next() {
        let path = fresh_path();
        let mut text = serde_json::to_vec(&every_kind()[0]).unwrap();
        text.extend_from_slice(b"\n{\"record\":\"pub");
        std::fs::write(&path, &text).unwrap();
        assert_eq!(read(&path).unwrap(), every_kind()[..1]);
        let log = Log::file(&path).unwrap();
        log.append(every_kind()[1].clone()).unwrap();
        assert_eq!(log.records().unwrap(), every_kind()[..2]);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_line_that_is_no_record_is_an_error_that_names_it() {
        let path = fresh_path();
        std::fs::write(
            &path,
            "{\"record\":\"published\",\"id\":\"a\",\"outcome\":\"nacked\"}\nno\n",
        )
        .unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains(":2: "), "{error}");
        std::fs::remove_file(path).unwrap();
    }
}
