//! Id-mapped mounts: where the mapping of one comes from (config.md, "uidMappings"; config-linux.md, "idmap").

use std::path::PathBuf;

use super::options::Wishes;
use crate::error::{Context as _, Error, Result};
use crate::plan::namespaces::Namespaces;
use crate::spec::{self, IdMapping};

/// An id-mapped mount (mount_setattr(2), MOUNT_ATTR_IDMAP).
#[derive(Debug, Clone)]
pub struct Idmap {
    /// Of all mounts below it too.
    pub recursive: bool,
    /// Where the mapping comes from.
    pub ids: Ids,
}

/// Where a mapping comes from.
#[derive(Debug, Clone)]
pub enum Ids {
    /// These ranges: user ids and group ids.
    Ranges(Vec<IdMapping>, Vec<IdMapping>),
    /// The user namespace of this path, which the container joins.
    Namespace(PathBuf),
}

/// The mapping: the mount's own, else the one in the option, else that of the container's user namespace.
pub(super) fn resolve(
    field: &str,
    mount: &spec::Mount,
    wishes: &Wishes,
    namespaces: &Namespaces,
) -> Result<Option<Idmap>> {
    let (uids, gids) = (&mount.uid_mappings, &mount.gid_mappings);
    if uids.is_empty() != gids.is_empty() {
        return Err(Error::at(format!("{field}.uidMappings"), "uidMappings and gidMappings go together"));
    }
    let options = || format!("{field}.options");
    let recursive = wishes.idmap.unwrap_or(false);
    let ids = if !uids.is_empty() {
        Ids::Ranges(uids.clone(), gids.clone())
    } else if let Some(text) = &wishes.idmap_text {
        parse_idmap(text, namespaces).in_field(options())?
    } else if wishes.idmap.is_none() {
        return Ok(None);
    } else if namespaces.creates(libc::CLONE_NEWUSER) {
        Ids::Ranges(namespaces.uid_map.clone(), namespaces.gid_map.clone())
    } else {
        let joined = namespaces.join.iter().find(|(kind, _)| *kind == libc::CLONE_NEWUSER);
        let (_, path) = joined.ok_or_else(|| {
            Error::at(options(), "idmap needs uidMappings and gidMappings, or a user namespace")
        })?;
        Ids::Namespace(path.clone())
    };
    Ok(Some(Idmap { recursive, ids }))
}

/// crun's form: `uids=0-1000-10#10-2000-5;gids=0-1000-10`, each range an id on disk, an id of the host and a
/// length; after `@` the second id is one of the container (crun(1), "idmapped mounts").
pub(crate) fn parse_idmap(text: &str, namespaces: &Namespaces) -> Result<Ids> {
    let wrong = || Error::invalid(format!("idmap={text:?} is not of the form uids=0-1000-10;gids=0-1000-10"));
    let ranges = |list: &str, map: &[IdMapping]| -> Result<Vec<IdMapping>> {
        let one = |range: &str| {
            let (relative, range) = match range.strip_prefix('@') {
                Some(range) => (true, range),
                None => (false, range),
            };
            let numbers: Vec<u32> = range.split('-').filter_map(|n| n.parse().ok()).collect();
            let [container_id, mut host_id, size] = numbers[..] else { return Err(wrong()) };
            if relative {
                let of = |m: &IdMapping| {
                    let offset = host_id.checked_sub(m.container_id).filter(|offset| *offset < m.size)?;
                    m.host_id.checked_add(offset)
                };
                host_id = map.iter().find_map(of).ok_or_else(wrong)?;
            }
            Ok(IdMapping { container_id, host_id, size })
        };
        list.split('#').map(one).collect()
    };
    let mut parts = text.split(';');
    let (uids, gids) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let uids = ranges(uids.strip_prefix("uids=").ok_or_else(wrong)?, &namespaces.uid_map)?;
    let gids = ranges(gids.strip_prefix("gids=").ok_or_else(wrong)?, &namespaces.gid_map)?;
    Ok(Ids::Ranges(uids, gids))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inside(container_id: u32, host_id: u32, size: u32) -> Namespaces {
        let map = vec![IdMapping { container_id, host_id, size }];
        Namespaces { uid_map: map.clone(), gid_map: map, ..Namespaces::default() }
    }

    #[test]
    fn ids_after_an_at_sign_are_the_containers() {
        let ids = parse_idmap("uids=0-3-1#5-6-1;gids=@1-2-1", &inside(0, 1000, 10)).unwrap();
        let Ids::Ranges(uids, gids) = ids else { panic!("{ids:?}") };
        assert_eq!((uids[0].host_id, uids[1].host_id, gids[0].host_id), (3, 6, 1002));
        assert!(parse_idmap("uids=@0-10-1;gids=@0-0-1", &inside(0, 1000, 10)).is_err());
    }

    /// The container's own mapping may be the faulty one: all faults are looked for.
    #[test]
    fn id_beyond_the_last_one_is_refused() {
        assert!(parse_idmap("uids=@0-9-1;gids=0-0-1", &inside(0, u32::MAX, 10)).is_err());
    }
}
