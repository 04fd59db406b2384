//! Layers: tar <-> tree, whiteouts, compression, and what is remembered of layers once packed.
//!
//! | module       | turns what into what                                          | effects        |
//! |--------------|---------------------------------------------------------------|----------------|
//! | `error`      | what can be wrong with a layer                                | none           |
//! | `pax`        | extended headers <-> records                                  | none           |
//! | `sparse`     | stored runs -> a whole file                                   | none           |
//! | `header`     | header blocks -> a member                                     | none           |
//! | `digesting` | a stream -> the same, its digest and length             | none           |
//! | `copy`       | content -> bytes in a stream                                  | reads the store|
//! | `recipe`     | a foreign tar -> how to write it again                        | reads the store|
//! | `archive`    | an untrusted stream -> members and data                       | none           |
//! | `tree`       | members so far -> a tree, with whiteouts' memory              | store          |
//! | `place`      | a member's name -> a path beneath the root                    | store          |
//! | `unpack`     | a tar and a base -> a tree                                    | store          |
//! | `writer`     | entries -> a canonical tar                                    | none           |
//! | `pack`       | two trees -> a canonical tar                                  | reads the store|
//! | `compress`   | bytes -> gzip or zstd, in parallel; any compression -> bytes  | threads        |
//! | `packed`     | a pair of trees -> diff_id, blobs; remembered                 | layer records  |

mod archive;
pub mod compress;
mod copy;
mod digesting;
mod error;
mod header;
mod pack;
pub mod packed;
mod pax;
mod place;
mod recipe;
mod sparse;
mod tree;
mod unpack;
mod writer;

pub use compress::decompress;
pub use digesting::Digesting;
pub use error::{LayerError, MemberError};
pub use pack::pack;
pub use packed::Layer;
pub use unpack::{Unpacked, Whiteouts, unpack, unpack_recorded};

#[cfg(test)]
mod tests;
