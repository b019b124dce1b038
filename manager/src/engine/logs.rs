//! `logs`: the container's log file, from where it was asked, to the end or for as long as it grows.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::time::{Duration, Instant};

use super::wait::wait_for;
use crate::container::record::Status;
use crate::container::store::{Container, Containers};
use crate::error::{Context, Result};
use crate::paths::Paths;
use crate::shim::log::Line;

/// How long new output may lie in the file before a follower shows it.
const GLANCE: Duration = Duration::from_millis(100);
const CHUNK: usize = 64 * 1024;

/// Gives every line from the last `tail` on (all if `None`) to `show`; with `follow` goes on until
/// the container is over.
pub fn logs(
    paths: &Paths,
    query: &str,
    (tail, follow): (Option<usize>, bool),
    show: &mut dyn FnMut(&Line) -> Result<()>,
) -> Result<()> {
    let container = Containers::open(paths).find(query)?;
    let path = container.dir.join("log.json");
    let mut file = match File::open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        file => file.context(format!("open {}", path.display()))?,
    };
    if let Some(count) = tail {
        seek_tail(&mut file, count)?;
    }
    let mut pending = Vec::new();
    loop {
        // Asked before reading: what was written before the end is then surely read.
        let over = !follow || is_over(paths, &container)?;
        read_lines(&mut file, &mut pending, show)?;
        if over {
            return Ok(());
        }
    }
}

/// Waits a moment for the end, which the shim announces at once.
fn is_over(paths: &Paths, container: &Container) -> Result<bool> {
    if !matches!(container.status()?, Status::Running(_)) {
        return Ok(true);
    }
    Ok(wait_for(paths, container, Some(Instant::now() + GLANCE))?.is_some())
}

fn read_lines(
    file: &mut File,
    pending: &mut Vec<u8>,
    show: &mut dyn FnMut(&Line) -> Result<()>,
) -> Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let count = file.read(&mut buffer).context("read the log")?;
        if count == 0 {
            return Ok(());
        }
        pending.extend_from_slice(buffer.get(..count).unwrap_or_default());
        let Some(end) = pending.iter().rposition(|byte| *byte == b'\n') else { continue };
        for line in pending.get(..end).unwrap_or_default().split(|byte| *byte == b'\n') {
            // A record torn by a full disk is left out.
            if let Ok(line) = serde_json::from_slice(line) {
                show(&line)?;
            }
        }
        pending.drain(..=end);
    }
}

/// Moves to the start of the last `count` records, reading backwards from the end.
fn seek_tail(file: &mut File, count: usize) -> Result<()> {
    let what = "seek in the log";
    let mut position = file.seek(SeekFrom::End(0)).context(what)?;
    let mut newlines = 0;
    let mut buffer = vec![0; CHUNK];
    while position > 0 {
        let length = position.min(CHUNK as u64);
        position -= length;
        file.seek(SeekFrom::Start(position)).context(what)?;
        let chunk = buffer.get_mut(..usize::try_from(length).unwrap_or(CHUNK)).unwrap_or_default();
        file.read_exact(chunk).context("read the log")?;
        for (index, _) in chunk.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            newlines += 1;
            if newlines > count {
                file.seek(SeekFrom::Start(position + index as u64 + 1)).context(what)?;
                return Ok(());
            }
        }
    }
    file.seek(SeekFrom::Start(0)).context(what)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_is_the_last_records() {
        let path = std::env::temp_dir().join(format!("wharf-tail-{}", std::process::id()));
        let record = |text: String| format!("{{\"log\":\"{text}\",\"stream\":\"stdout\",\"time\":\"t\"}}\n");
        std::fs::write(&path, (0..5000).map(|n| record(n.to_string())).collect::<String>()).unwrap();
        for (tail, expected) in [(0, vec![]), (2, vec!["4998", "4999"])] {
            let mut file = File::open(&path).unwrap();
            seek_tail(&mut file, tail).unwrap();
            let mut shown = Vec::new();
            read_lines(&mut file, &mut Vec::new(), &mut |line| {
                shown.push(line.log.clone());
                Ok(())
            })
            .unwrap();
            assert_eq!(shown, expected);
        }
        let mut file = File::open(&path).unwrap();
        seek_tail(&mut file, 9999).unwrap();
        assert_eq!(file.stream_position().unwrap(), 0);
        std::fs::remove_file(&path).unwrap();
    }
}
