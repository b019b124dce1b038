//! Where messages go: warnings and errors to standard error and to `--log`, in the form that engines read.
//!
//! containerd reads the file as a stream of records and shows the last error; podman reads it as *one* record.
//! So errors alone go there, one for a failed command, unless `--debug` asks for more.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::sync::Mutex;

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::cli::Globals;
use crate::command::time;
use crate::error::{Context, Result};

struct Sink {
    file: Option<Mutex<File>>,
    json: bool,
}

/// Opens `--log` and puts the sink in place.
pub fn start(globals: &Globals) -> Result<()> {
    let open = |path: &std::path::PathBuf| {
        OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .with_context(|| format!("--log: open {}", path.display()))
    };
    let file = globals.log.as_ref().map(open).transpose()?.map(Mutex::new);
    if log::set_boxed_logger(Box::new(Sink { file, json: globals.json })).is_ok() {
        log::set_max_level(if globals.debug { LevelFilter::Debug } else { LevelFilter::Warn });
    }
    Ok(())
}

impl Log for Sink {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let (level, message) = (record.level().as_str().to_lowercase(), record.args().to_string());
        let level = if level == "warn" { "warning".to_owned() } else { level };
        if record.level() <= Level::Warn {
            // Standard error may be closed, and there is no other place to say so.
            writeln!(std::io::stderr(), "{}", terse(record.level(), &message)).ok();
        }
        let goes_to_file = record.level() == Level::Error || log::max_level() >= LevelFilter::Debug;
        let Some(mut file) = self.file.as_ref().filter(|_| goes_to_file).and_then(|file| file.lock().ok())
        else {
            return;
        };
        let now = time::now();
        let line = match self.json {
            true => serde_json::json!({"level": level, "msg": message, "time": now}).to_string(),
            false => format!("time=\"{now}\" level={level} msg={message:?}"),
        };
        // One write, so that records of several processes do not mix.
        file.write_all(format!("{line}\n").as_bytes()).ok();
    }

    fn flush(&self) {}
}

fn terse(level: Level, message: &str) -> String {
    match level {
        Level::Error => format!("wharf-runtime: {message}"),
        _ => format!("wharf-runtime: warning: {message}"),
    }
}
