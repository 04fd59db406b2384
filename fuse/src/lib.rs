//! A writable filesystem over one immutable tree.
