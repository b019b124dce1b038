//! Small files of the kernel's, read in as few calls as can be.

use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, Result};

/// The whole file. The standard library asks for the size first, which these files do not tell, and then reads in
/// steps of 32 bytes, doubled: nine calls for what takes four here. What that costs is seen by `state` alone, which
/// is hardly anything else, but `run` reads a dozen of them.
pub fn read(path: impl AsRef<Path>) -> Result<Vec<u8>> {
    let file = rustix::fs::open(path.as_ref(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut text = Vec::with_capacity(4096);
    loop {
        match rustix::io::read(&file, rustix::buffer::spare_capacity(&mut text)) {
            Ok(0) => return Ok(text),
            Ok(_) | Err(Errno::INTR) => text.reserve(1024),
            Err(errno) => return Err(errno),
        }
    }
}

/// The same of a file that holds text.
pub fn read_text(path: impl AsRef<Path>) -> Result<String> {
    String::from_utf8(read(path)?).map_err(|_| Errno::ILSEQ)
}

#[cfg(test)]
mod tests {
    #[test]
    fn files_of_any_length_are_read_whole() {
        let path = std::env::temp_dir().join(format!("wharf-file-{}", std::process::id()));
        for length in [0, 1, 4095, 4096, 4097, 100_000] {
            let text = vec![b'x'; length];
            std::fs::write(&path, &text).unwrap();
            assert_eq!(super::read(&path).unwrap(), text);
        }
        std::fs::remove_file(path).unwrap();
        assert!(super::read_text("/proc/self/stat").unwrap().starts_with(&std::process::id().to_string()));
    }
}
