//! `rmi`: take a name away, and with the last one the image. What is deleted is found by looking
//! at what is still used, so a removal needs no counts that could be wrong, and no free space.

use std::collections::BTreeSet;

use crate::durable::Lock;
use crate::error::{Context, Error, Kind, Result};
use crate::image::Image;
use crate::image::reference::Reference;
use crate::image::staging::Staging;
use crate::image::store::{ImageStore, Removed, find_among};
use crate::paths::Paths;
use crate::snapshot::{self, Snapshots};

/// Removes an image, or only the name that was given if it has others. `force` takes the names from
/// an image that containers use; what they stand on stays until they are gone.
pub fn remove_image(paths: &Paths, query: &str, force: bool) -> Result<Vec<Removed>> {
    let store = ImageStore::open(paths)?;
    // What is removed is moved here first and deleted without the lock.
    let trash = Staging::begin(paths)?;
    let _lock = Lock::exclusive(&paths.lock())?;
    let image = find_among(&store.images()?, query)?;
    let name = query
        .parse::<Reference>()
        .ok()
        .map(|name| name.stored())
        .filter(|name| image.references.contains(name));

    let by_one_of_many = name.as_ref().filter(|_| image.references.len() > 1);
    if let Some(name) = by_one_of_many {
        store.untag(name)?;
        return Ok(vec![Removed::Untagged(name.clone())]);
    }
    let snapshots = Snapshots::open(paths)?.all()?;
    let user = snapshots.iter().find(|snapshot| snapshot.image == image.id);
    if !force {
        check_names(&image, name.is_some())?;
        if let Some(user) = user {
            return Err(in_use(&image, name.as_ref(), &user.container));
        }
    }
    let mut removed: Vec<Removed> = image.references.iter().cloned().map(Removed::Untagged).collect();
    if user.is_some() {
        image.references.iter().try_for_each(|name| store.untag(name))?;
        return Ok(removed);
    }
    store.forget(&image)?;
    store.sweep().context("remove blobs")?;
    let mut layers: BTreeSet<_> =
        snapshot::sweep(paths, &store.images()?, trash.dir())?.into_iter().collect();
    removed.push(Removed::Deleted(image.id.clone()));
    // Topmost first, as they were stacked; then what an earlier command left.
    for id in image.chain()?.into_iter().rev() {
        if layers.remove(&id) {
            removed.push(Removed::Deleted(id));
        }
    }
    Ok(removed)
}

/// An id may stand for names in several repositories; it is not clear that all are meant.
fn check_names(image: &Image, by_name: bool) -> Result<()> {
    let repositories: BTreeSet<String> = image.references.iter().map(Reference::familiar_name).collect();
    if by_name || repositories.len() < 2 {
        return Ok(());
    }
    let message = format!(
        "conflict: unable to delete {} (must be forced) - image is referenced in multiple repositories",
        image.id.short()
    );
    Err(Error::new(Kind::Conflict, message))
}

fn in_use(image: &Image, name: Option<&Reference>, container: &str) -> Error {
    let (id, container) = (image.id.short(), container.get(..12).unwrap_or(container));
    let message = match name {
        Some(name) => format!(
            "conflict: unable to remove repository reference \"{}\" (must force) - container {container} is using its \
             referenced image {id}",
            name.familiar()
        ),
        None => format!(
            "conflict: unable to delete {id} (must be forced) - image is being used by container {container}"
        ),
    };
    Error::new(Kind::Conflict, message)
}
