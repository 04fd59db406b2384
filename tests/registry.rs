//! Pulling, from a real registry filled by a real client, and from a server that misbehaves in every way we thought of.
//! All on this machine's loopback.

mod fake;
mod real;
