//! The local image store: names and ids to images; archives and root filesystem tars to images; build results to images.
//!
//! | module     | turns what into what                                    | effects               |
//! |------------|---------------------------------------------------------|-----------------------|
//! | `error`    | what can be wrong with an image                         | none                  |
//! | `image`    | a config's bytes and layers -> an image; its record     | none                  |
//! | `store`    | names, ids -> images, and back                          | image records         |
//! | `install`  | a config and layer blobs -> an image                    | store, layer records  |
//! | `assemble` | a base, steps, a config -> an image                     | store, layer records  |
//! | `import`   | a root filesystem tar -> an image                       | store, layer records  |
//! | `archive`  | a tar file or a directory -> members by name            | reads files           |
//! | `load`     | docker archives, OCI archives and layouts -> images     | all of these          |
//!
//! An image is a config, whose digest is its id, and a chain of layers, each a pair of trees. Its record keeps the trees alive.

mod archive;
mod assemble;
mod error;
mod image;
mod import;
mod install;
mod load;
mod store;

pub use assemble::{Assembly, assemble};
pub use error::ImageError;
pub use image::Image;
pub use import::import;
pub use install::{Blobs, Verified, install};
pub use load::{Input, Loaded, load};
pub use store::{ImageStore, Listed, Removed};

#[cfg(test)]
mod tests;
