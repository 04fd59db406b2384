//! Where trees come from: build contexts, images.
//!
//! | file      | turns what into what                                    | effects                  |
//! |-----------|---------------------------------------------------------|--------------------------|
//! | `pattern` | COPY's globs -> matches of names                        | none                     |
//! | `context` | a host directory, patterns -> a tree of what they select | reads files, stat records |

pub mod context;
pub mod pattern;
