//! Tests of silt-store, one binary. The table of contents:
//!
//! - `fixture`: what the others make trees and content from
//! - `golden`: bytes and ids that may never change under one format number
//! - `directory`: split directories against sorted maps
//! - `content`: streams, ranges and holes against plain bytes
//! - `paths`: walks, look-ups and links followed
//! - `difference`: what changed, against a naive comparison
//! - `edits`: edits and hard links against a flat map of paths
//! - `crash`: processes killed with SIGKILL, logs cut short
//! - `full_disk`: a small tmpfs, filled
//! - `rocks`: the store on disk against the store in memory; damage, formats, locks, sweeps

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod content;
mod crash;
mod difference;
mod directory;
mod edits;
mod fixture;
mod full_disk;
mod golden;
mod paths;
mod rocks;
