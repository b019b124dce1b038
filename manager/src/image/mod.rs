//! Images: what they are called (`reference`), what they are made of (`digest`, `platform`), where
//! they come from (`registry` with `auth`, `archive`), and where they are kept (`store`, `unpack`).
//! Everything that a registry or an archive says is hostile until its digest has been checked, and
//! stays so in its meaning.

pub mod archive;
pub mod auth;
pub mod digest;
pub mod platform;
pub mod reference;
pub mod registry;
pub mod store;
pub mod unpack;
