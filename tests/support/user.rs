//! An ordinary user whom only the tests know: the files that say who he is are mounted over the host's.

use std::fs::OpenOptions;
use std::path::Path;

/// The user's id and his group's.
pub const USER: u32 = 62_001;

/// What says who he is, in /etc.
pub const FILES: [&str; 4] = ["passwd", "group", "subuid", "subgid"];

/// Writes these files into `folder`: the host's, with the user and the `count` further ids from `first` on that are his.
/// What they are to be mounted on is there afterwards; an empty file gives nobody anything.
pub fn write_files(folder: &Path, (first, count): (u32, u32)) {
    for name in FILES {
        let entry = match name {
            "passwd" => format!("wharf-user:x:{USER}:{USER}::/:/bin/sh"),
            "group" => format!("wharf-user:x:{USER}:"),
            _ => format!("wharf-user:{first}:{count}"),
        };
        let hosts = Path::new("/etc").join(name);
        let text = std::fs::read_to_string(&hosts).unwrap_or_default();
        std::fs::write(folder.join(name), format!("{text}{entry}\n")).unwrap();
        OpenOptions::new().append(true).create(true).open(&hosts).unwrap();
    }
}
