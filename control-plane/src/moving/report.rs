//! What became of each line: one JSON object a line, without any key.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde_json::json;

use super::MovingError;
use crate::operations::import::{Outcome, Status};

/// Where it is told.
pub(super) struct Report {
    out: BufWriter<Box<dyn Write>>,
    name: String,
}

impl Report {
    /// A new file, or one that goes on when the run does; standard output when there is none.
    pub(super) fn open(file: Option<&Path>, goes_on: bool) -> Result<Self, MovingError> {
        let Some(file) = file.filter(|file| *file != Path::new("-")) else {
            return Ok(Self {
                out: BufWriter::new(Box::new(io::stdout())),
                name: "standard output".to_owned(),
            });
        };
        let mut options = File::options();
        options.create(true);
        if goes_on {
            options.append(true);
        } else {
            options.write(true).truncate(true);
        }
        let opened = options.open(file);
        let opened = opened
            .map_err(|error| MovingError::Arguments(format!("--report: {}: {error}", file.display())))?;
        Ok(Self {
            out: BufWriter::new(Box::new(opened)),
            name: file.display().to_string(),
        })
    }

    pub(super) fn note(&mut self, outcome: &Outcome) -> Result<(), MovingError> {
        let line = json!({
            "line": outcome.line,
            "kind": outcome.kind,
            "ref": outcome.reference,
            "status": match outcome.status {
                Status::Created => "created",
                Status::Exists => "exists",
                Status::Failed => "error",
            },
            "id": outcome.id,
            "field": outcome.field,
            "message": outcome.message,
        });
        writeln!(self.out, "{line}").map_err(|error| MovingError::Io(self.name.clone(), error))
    }

    pub(super) fn flush(&mut self) -> Result<(), MovingError> {
        self.out
            .flush()
            .map_err(|error| MovingError::Io(self.name.clone(), error))
    }

    pub(super) fn finish(mut self) -> Result<(), MovingError> {
        self.flush()
    }
}
