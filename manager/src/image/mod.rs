//! Images: what they are called (`reference`), what they are made of (`digest`, `manifest`,
//! `platform`), where they come from (`registry` with `auth` and `transport`, `archive`), how they
//! arrive (`staging`, `pull`) and where they are kept (`store`). Everything that a registry or an
//! archive says is hostile until its digest has been checked, and stays so in its meaning.

pub mod digest;
pub mod reference;
