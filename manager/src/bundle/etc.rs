//! The three files of /etc that belong to a container and not to its image. They lie beside the
//! container's record and are bind-mounted, so a program may change them and the image stays as it is.

use std::fs;
use std::path::Path;

use crate::container::record::{Network, Record};
use crate::container::store::write_atomically;
use crate::error::{Context, Result};

const LOOPBACK: &str = "127.0.0.1\tlocalhost\n\
    ::1\tlocalhost ip6-localhost ip6-loopback\n\
    fe00::0\tip6-localnet\n\
    ff00::0\tip6-mcastprefix\n\
    ff02::1\tip6-allnodes\n\
    ff02::2\tip6-allrouters\n";

/// Writes hosts, hostname and resolv.conf to the folder.
pub fn write(record: &Record, dir: &Path) -> Result<()> {
    let (hosts, resolver) = match record.network {
        Network::Host => (host_file("/etc/hosts")?, host_file("/etc/resolv.conf")?),
        // There is nobody to ask on a network of one.
        Network::None => (LOOPBACK.to_owned(), String::new()),
    };
    for (name, text) in
        [("hosts", hosts), ("hostname", format!("{}\n", record.hostname)), ("resolv.conf", resolver)]
    {
        let path = dir.join(name);
        write_atomically(&path, text.as_bytes())?;
        // Every user of the container reads them.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        fs::set_permissions(&path, mode).context(format!("make {} readable", path.display()))?;
    }
    Ok(())
}

fn host_file(path: &str) -> Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        text => text.context(format!("read {path}")),
    }
}
