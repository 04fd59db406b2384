//! Where trees come from: build contexts, images.
//!
//! | file      | turns what into what                                    | effects                  |
//! |-----------|---------------------------------------------------------|--------------------------|
//! | `pattern` | COPY's globs -> matches of names                        | none                     |
//! | `context` | a host directory, patterns -> a tree of what they select | reads files, stat records |
//! | `image`   | a reference -> an image, local or pulled                | network, store           |

pub mod context;
pub mod image;
pub mod pattern;
