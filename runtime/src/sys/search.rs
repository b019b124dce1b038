//! Where a program is, along a PATH (execvp(3)).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// What is searched where there is no PATH.
const DEFAULT: &[u8] = b"/bin:/usr/bin";

/// Why no program was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missed {
    /// There is none.
    Absent,
    /// There is one that may not be executed.
    Denied,
    /// The search came to an end before its time.
    Failed(Errno),
}

/// The first `name` in the folders of `path` that `check` has nothing against.
pub fn along(
    path: Option<&[u8]>,
    name: &OsStr,
    check: impl Fn(&Path) -> Result<(), Errno>,
) -> Result<PathBuf, Missed> {
    let mut missed = Missed::Absent;
    for folder in path.unwrap_or(DEFAULT).split(|byte| *byte == b':') {
        let folder = if folder.is_empty() { b"." } else { folder };
        let candidate = Path::new(OsStr::from_bytes(folder)).join(name);
        match check(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(Errno::ACCESS) => missed = Missed::Denied,
            // What speaks of the path, as for execvp(3).
            Err(
                Errno::NOENT
                | Errno::NOTDIR
                | Errno::ISDIR
                | Errno::LOOP
                | Errno::NAMETOOLONG
                | Errno::STALE
                | Errno::NODEV
                | Errno::TIMEDOUT,
            ) => {}
            Err(errno) => return Err(Missed::Failed(errno)),
        }
    }
    Err(missed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(path: Option<&[u8]>) -> Result<PathBuf, Missed> {
        along(path, OsStr::new("tool"), |candidate| match candidate.to_str().unwrap() {
            "/usr/bin/tool" | "./tool" => Ok(()),
            "/denied/tool" => Err(Errno::ACCESS),
            "/broken/tool" => Err(Errno::IO),
            _ => Err(Errno::NOENT),
        })
    }

    #[test]
    fn folders_are_searched_in_order_and_an_empty_one_is_the_working_directory() {
        assert_eq!(find(None), Ok(PathBuf::from("/usr/bin/tool")));
        assert_eq!(find(Some(b"/denied:/usr/bin")), Ok(PathBuf::from("/usr/bin/tool")));
        assert_eq!(find(Some(b"/none::/usr/bin")), Ok(PathBuf::from("./tool")));
        assert_eq!(find(Some(b"/none")), Err(Missed::Absent));
        assert_eq!(find(Some(b"/denied:/none")), Err(Missed::Denied));
        assert_eq!(find(Some(b"/broken:/usr/bin")), Err(Missed::Failed(Errno::IO)));
    }
}
