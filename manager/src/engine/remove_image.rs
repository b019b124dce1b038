//! `rmi`: a name, and with the last name the image and what only it needed.

use crate::container::store::Containers;
use crate::error::{Error, Kind, Result};
use crate::image::reference::Reference;
use crate::image::store::{Image, ImageStore};
use crate::paths::Paths;

/// What was done, in Docker's words: `Untagged: x`, `Deleted: sha256:…`.
pub fn remove_image(paths: &Paths, query: &str, force: bool) -> Result<Vec<String>> {
    let store = ImageStore::open(paths)?;
    let image = store.find(query)?;
    let named = query.parse::<Reference>().ok().map(|reference| reference.stored());
    let mut done = Vec::new();
    if let Some(name) = named.filter(|name| image.references.contains(name) && image.references.len() > 1) {
        store.untag(&name)?;
        done.push(format!("Untagged: {}", name.familiar()));
        return Ok(done);
    }
    if !force {
        refuse_in_use(paths, query, &image)?;
    }
    done.extend(image.references.iter().map(|name| format!("Untagged: {}", name.familiar())));
    store.forget(&image.manifest)?;
    store.sweep()?;
    done.push(format!("Deleted: {}", image.id));
    Ok(done)
}

fn refuse_in_use(paths: &Paths, query: &str, image: &Image) -> Result<()> {
    let id = image.id.to_string();
    let users = Containers::open(paths).all()?;
    let Some(user) = users.iter().find(|container| container.record.image_id == id) else { return Ok(()) };
    let message = format!(
        "conflict: unable to remove repository reference \"{query}\" (must force) - container {} is using its referenced image {}",
        crate::container::name::short(&user.record.id),
        image.id.short()
    );
    Err(Error::new(Kind::Conflict, message))
}
